/**
 * Is the conformance kit itself right? Puts one fault after the other before a good shim, and runs the checks that must
 * find it, with a few that must not. Before that, the same proxy without a fault must pass all of them.
 *
 * Usage: bun test/mutation/main.ts [PART-OF-A-NAME...] [--list]
 *
 * Prints one line for each fault: the checks that found it, or NOT FOUND. The last line is `N passed, N failed,
 * N skipped`, and the exit status is 1 when anything failed.
 */

import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { isAlive } from "../conformance/rig/machine.ts";
import { findCriu } from "../lib/criu.ts";
import { root } from "../lib/paths.ts";
import { summary } from "../lib/runner/tally.ts";
import { allFaults, none } from "./faults/index.ts";
import { controls, judge, removeRuns, runDir, type Verdict } from "./kit.ts";

const words = process.argv.slice(2);
const parts = words.filter((word) => word !== "--list");
const named = allFaults.filter(({ name }) => parts.length === 0 || parts.some((part) => name.includes(part)));
if (words.includes("--list")) {
  for (const { name, by } of named) console.log(`${name.padEnd(60)} ${by.join(", ")}`);
  console.log(`${named.length} faults`);
  process.exit(0);
}
if (process.getuid?.() !== 0) {
  console.error("run it as root: the kit makes mounts, cgroups and containers");
  process.exit(2);
}
if (!existsSync(join(root, "dist", "berth"))) {
  console.error("dist/berth is missing: npm run build makes it");
  process.exit(2);
}

const abort = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => abort.abort());
process.exit(await main());

async function main(): Promise<number> {
  removeDeadRuns();
  const criu = named.some(({ needs }) => needs === "criu") ? await findCriu() : "no fault needs it";
  // The kit looks for it in PATH, and so does runc.
  if (typeof criu !== "string") process.env["PATH"] = `${criu.directory}:${process.env["PATH"]}`;
  const chosen = named.filter(({ needs }) => needs === undefined || typeof criu !== "string");
  const left = named.filter((fault) => !chosen.includes(fault));
  for (const { name } of left) console.log(`skip ${name}: no criu: ${criu}`);
  const begun = performance.now();
  const tally = { passed: 0, failed: 0, skipped: left.length };
  let cut = 0;
  const told = (verdict: Verdict): void => {
    if (verdict.wrong.length === 0) tally.passed++;
    else tally.failed++;
    for (const line of lines(verdict)) console.log(line);
  };
  const checks = [...new Set([...chosen.flatMap(({ by }) => by), ...controls])];
  told(await judge({ ...none, timeout: 30 }, { signal: abort.signal, checks, jobs: 2 }));
  const queue = [...chosen];
  const worker = async (): Promise<void> => {
    for (let fault = queue.shift(); fault !== undefined; fault = queue.shift()) {
      if (abort.signal.aborted) cut++;
      else told(await judge(fault, { signal: abort.signal }));
    }
  };
  await Promise.all([worker(), worker()]);
  removeRuns();
  console.log(`\n${((performance.now() - begun) / 1000).toFixed(1)} s`);
  if (cut > 0) console.log(`interrupted: ${cut} faults were not made`);
  console.log(summary({ ...tally, skipped: tally.skipped + cut }));
  return tally.failed > 0 || cut > 0 ? 1 : 0;
}

function lines({ fault, found, wrong, ms }: Verdict): string[] {
  const by = found.length > 0 ? `found by ${found.join(", ")}` : "nothing found";
  const head = `${wrong.length === 0 ? "ok  " : "FAIL"} ${fault.name}: ${by} (${(ms / 1000).toFixed(1)} s)`;
  return [head, ...wrong.map((line) => `       ${line}`)];
}

/** Takes away what runs have left that were killed. */
function removeDeadRuns(): void {
  const base = dirname(runDir());
  if (!existsSync(base)) return;
  for (const name of readdirSync(base)) {
    if (Number.isInteger(Number(name)) && !isAlive(Number(name))) removeRuns(Number(name));
  }
}
