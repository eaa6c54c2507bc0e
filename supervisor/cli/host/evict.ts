/** `berth system evict`: room on the disk, by what nobody needs. */

import type { Connection } from "../connect.ts";
import { shown, shownJson } from "../output/escape.ts";
import { decimalSize } from "../output/size.ts";
import { print } from "../output/terminal.ts";

export interface EvictFlags {
  readonly dryRun?: boolean;
  readonly all?: boolean;
  readonly format?: string;
}

/** Making room waits for files to go. */
const EVICT_MS = 600_000;

/** Makes room and prints what went. @throws CallError */
export async function evict({ api }: Connection, { dryRun = false, all = false, format }: EvictFlags): Promise<void> {
  const request = { dryRun, all };
  const { evicted, volumes } = await api.call("berth.v1.Disk", "Evict", request, { deadlineMs: EVICT_MS });
  const things = evicted.map(({ kind, namespace, name, bytes }) => {
    return { kind: kind ?? "", namespace: namespace ?? "", name: name ?? "", bytes: Number(bytes ?? 0) };
  });
  if (format === "json") {
    await print(`${shownJson({ dryRun, evicted: things }, 2)}\n`);
    return;
  }
  for (const { kind, namespace, name, bytes } of things) {
    const what = [kind, [namespace, name].filter((part) => part !== "").join("/")].filter((part) => part !== "");
    await print(`${dryRun ? "would evict" : "evicted"} ${shown(what.join(" "))}  ${decimalSize(bytes)}\n`);
  }
  if (things.length === 0) await print(dryRun || all ? "nothing may go\n" : "there is room: nothing had to go\n");
  for (const { paths, available, total, level } of volumes) {
    const room = `${decimalSize(Number(available))} free of ${decimalSize(Number(total))}`;
    await print(`${shown((paths ?? []).join(", "))}: ${room}, ${shown(level ?? "")}\n`);
  }
}
