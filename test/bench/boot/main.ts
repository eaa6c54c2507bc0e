/** `boot`: how long a node takes from the start of berthd, after the power went, until all its containers run. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Berthd } from "../../lib/berthd.ts";
import { allRunning, fillStore, keepRunning, powerCut } from "../../lib/reboot.ts";
import { closeScope } from "../../lib/scope.ts";
import { waitFor } from "../../lib/wait.ts";
import { openDisk } from "../disk.ts";
import { UsageError } from "../figure.ts";
import { describeMachine, loadAverage } from "../machine.ts";

export const usage = `usage: npm run bench -- boot [OPTION...]
  --containers N     that are to run (50)
  --blobs N          in the store beside them (2000)
  --snapshots N      in the store beside them (1000)
  --boots N          how often (5)
  --json             all samples, for programs`;

/**
 * Cuts the power again and again, and prints the times on stdout.
 * @throws UsageError; Error when a boot does not come to its end
 * @returns true when every boot took less than ten seconds
 */
export async function benchBoot(args: readonly string[]): Promise<boolean> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      containers: { type: "string", default: "50" },
      blobs: { type: "string", default: "2000" },
      snapshots: { type: "string", default: "1000" },
      boots: { type: "string", default: "5" },
      json: { type: "boolean", default: false },
    },
  });
  const [containers, blobs, snapshots, boots] = [values.containers, values.blobs, values.snapshots, values.boots].map(
    Number,
  );
  if (!containers || !boots || blobs === undefined || snapshots === undefined)
    throw new UsageError("a number is wrong");
  const disk = await openDisk();
  const machine = await describeMachine(disk.description);
  const daemon = new Berthd(join(disk.dir, "b"), `${disk.scope.token}-b`);
  const samples: { answers: number; running: number }[] = [];
  try {
    await daemon.start();
    await daemon.importImage();
    await fillStore(daemon, blobs, snapshots);
    await keepRunning(
      daemon,
      Array.from({ length: containers }, (_, n) => `n${n}`),
    );
    for (let boot = 0; boot < boots; boot++) {
      await powerCut(daemon);
      await Bun.sleep(2_000);
      const from = daemon.log().length;
      const begun = performance.now();
      await daemon.start();
      const answers = performance.now() - begun;
      await waitFor("all containers", () => started(daemon, from) >= containers, { timeout: 120_000, interval: 25 });
      const running = performance.now() - begun;
      await allRunning(daemon, containers);
      samples.push({ answers, running });
      console.error(`bench: ${Math.round(answers)} ms to the answer, ${Math.round(running)} ms until all run`);
    }
  } finally {
    await powerCut(daemon).catch(() => undefined);
    closeScope(disk.scope);
  }
  const report = { bench: "boot", machine, loadAtEnd: loadAverage(), containers, blobs, snapshots, samples };
  if (values.json) console.log(JSON.stringify(report));
  else {
    const median = (of: "answers" | "running"): string =>
      `${((samples.map((one) => one[of]).toSorted((a, b) => a - b)[samples.length >> 1] ?? 0) / 1000).toFixed(2)} s`;
    console.log(
      `${containers} containers, ${blobs} blobs and ${snapshots} snapshots beside them, ${boots} boots, medians:`,
    );
    console.log(`the socket answers after ${median("answers")}, all run after ${median("running")}`);
  }
  return samples.every(({ running }) => running < 10_000);
}

function started(daemon: Berthd, from: number): number {
  return readFileSync(daemon.logPath, "utf8").slice(from).split("restarted container").length - 1;
}
