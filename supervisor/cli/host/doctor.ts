/** `berth doctor`: looks at the machine, and says what to do. */

import { messageOf } from "../../../proto/errdefs.ts";
import { shown, shownJson } from "../output/escape.ts";
import { colorsFor, print } from "../output/terminal.ts";
import { lookAtCgroups } from "./doctor/cgroups.ts";
import type { Diagnosis, Look, Place } from "./doctor/check.ts";
import { lookAtClock } from "./doctor/clock.ts";
import { lookAtDaemon } from "./doctor/daemon.ts";
import { lookAtDisk } from "./doctor/disk.ts";
import { lookAtKernel } from "./doctor/kernel.ts";
import { lookAtNetwork } from "./doctor/network.ts";
import { lookAtRuntime } from "./doctor/runtime.ts";

const looks: readonly (readonly [area: string, Look])[] = [
  ["kernel", (place) => lookAtKernel(place)],
  ["cgroups", lookAtCgroups],
  ["runtime", lookAtRuntime],
  ["network", lookAtNetwork],
  ["disk", lookAtDisk],
  ["clock", (place) => lookAtClock(place)],
  ["daemon", lookAtDaemon],
];

/** Everything that there is to say about a machine. */
export async function diagnose(place: Place): Promise<Diagnosis[]> {
  const found = looks.map(async ([area, look]): Promise<Diagnosis[]> => {
    try {
      return await look(place);
    } catch (error) {
      return [{ area, name: "look", level: "warn", detail: messageOf(error), advice: "run berth doctor as root" }];
    }
  });
  return (await Promise.all(found)).flat();
}

/** Prints it. @returns the exit status: 1 when something fails */
export async function doctor(
  place: Place,
  flags: { readonly json?: boolean; readonly quiet?: boolean },
): Promise<number> {
  const diagnoses = await diagnose(place);
  const failed = diagnoses.filter(({ level }) => level === "fail").length;
  const warned = diagnoses.filter(({ level }) => level === "warn").length;
  if (flags.json) {
    await print(`${shownJson({ ok: failed === 0, failed, warned, checks: diagnoses }, 2)}\n`);
    return failed > 0 ? 1 : 0;
  }
  const colors = colorsFor();
  const paint = { ok: colors.green, warn: colors.yellow, fail: colors.red };
  const lines = diagnoses
    .filter(({ level }) => !flags.quiet || level !== "ok")
    .map(({ area, name, level, detail, advice }) => {
      const line = `${paint[level](level.padEnd(5))} ${area.padEnd(8)} ${name.padEnd(18)} ${shown(detail)}\n`;
      return advice === undefined ? line : `${line}${" ".repeat(15)}-> ${shown(advice)}\n`;
    });
  const summary =
    failed > 0
      ? `${failed} wrong, ${warned} to look at`
      : warned > 0
        ? `nothing wrong, ${warned} to look at`
        : "nothing wrong";
  await print(`${lines.join("")}${diagnoses.length} looked at: ${summary}\n`);
  return failed > 0 ? 1 : 0;
}
