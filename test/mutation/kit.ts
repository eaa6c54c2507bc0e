/** Runs the kit on a shim with a fault, and judges what it found. */

import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { names } from "../conformance/check.ts";
import type { Result } from "../conformance/result.ts";
import { findMounts, findProcesses } from "../conformance/rig/machine.ts";
import { runKit } from "../lib/kit.ts";
import { root } from "../lib/paths.ts";
import type { Fault } from "./fault.ts";

/** Checks that are made whatever the fault is: those that it does not concern must still pass. */
export const controls = ["ST-5.stderr", "TT-1.response", "EV-1.order", "IO-1.fifo", "DL-5.empty"] as const;

/** What became of one fault. */
export interface Verdict {
  readonly fault: Fault;
  /** Checks that failed. */
  readonly found: readonly string[];
  /** What is wrong with that, one line each; none when the kit is right. */
  readonly wrong: readonly string[];
  readonly ms: number;
}

/** Where a run has its directories; short, because sockets lie below it. */
const base = "/run/berth-mutation";
let count = 0;

/** The directory of this process's runs. The caller removes it with {@link removeRuns}. */
export function runDir(pid = process.pid): string {
  return join(base, String(pid));
}

/** Ends and removes what runs of a process have left. @returns what was still there, for a person */
export function removeRuns(pid = process.pid): string[] {
  const left = findProcesses(`${runDir(pid)}/`);
  for (const found of left) process.kill(found.pid, "SIGKILL");
  rmSync(runDir(pid), { recursive: true, force: true });
  return left.map(({ pid: each, command }) => `process ${each}: ${command}`);
}

/** How the checks of a fault are run. */
export interface JudgeOptions {
  /** Ends the run. */
  readonly signal?: AbortSignal;
  /** Instead of those that the fault names. */
  readonly checks?: readonly string[];
  /** Checks at a time; one unless told, since two faults share the machine. */
  readonly jobs?: number;
}

/** Runs the checks of a fault. */
export async function judge(fault: Fault, { signal, checks, jobs = 1 }: JudgeOptions = {}): Promise<Verdict> {
  const begun = performance.now();
  const state = join(runDir(), String(++count));
  mkdirSync(state, { recursive: true });
  const only = checks ?? [...new Set([...fault.by, ...controls])];
  const flags = ["--only", only.join(","), "--timeout", String(fault.timeout ?? 10), "--jobs", String(jobs)];
  const { pid, report, said } = await runKit(makeShim(fault, state), join(state, "report.json"), flags, signal);
  const wrong = report === undefined ? [`the kit made no report: ${said}`] : compare(fault, report.results);
  const left = await leftOf(state, pid);
  const log = existsSync(join(state, "log")) ? readFileSync(join(state, "log"), "utf8").trim() : "";
  if (log !== "") wrong.push(`the proxy says: ${log.slice(0, 600)}`);
  const found = report?.results.filter(({ outcome }) => outcome === "fail").map(({ id }) => id) ?? [];
  return { fault, found, wrong: [...wrong, ...left], ms: performance.now() - begun };
}

/** A program that the kit takes for a shim. */
function makeShim({ name }: Fault, state: string): string {
  const path = join(state, "shim");
  const good = join(root, "dist", "containerd-shim-berth-v2");
  const words = [process.execPath, join(import.meta.dir, "wrapper.ts"), name, good, state];
  const quoted = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
  writeFileSync(path, `#!/bin/sh\nexec ${quoted.join(" ")} "$@"\n`);
  chmodSync(path, 0o755);
  return path;
}

/** What is wrong: a check that should have failed and did not, or one that had no reason to. */
export function compare(
  fault: Fault,
  results: readonly Pick<Result, "id" | "outcome" | "reason" | "failure">[],
): string[] {
  const outcome = (id: string): string => results.find((result) => result.id === id)?.outcome ?? "no such check";
  const missed = fault.by.filter((id) => outcome(id) !== "fail").map((id) => `NOT FOUND by ${id}: ${outcome(id)}`);
  const strange = results
    .filter(({ id, outcome }) => outcome !== "pass" && !fault.by.includes(id))
    // What cannot be seen on this machine, or with this shim, has nothing to say where there is no fault.
    .filter(({ outcome }) => outcome !== "skip" || fault.by.length > 0)
    .filter(({ id, outcome }) => outcome !== "fail" || !fault.also?.some((pattern) => names(pattern, id)))
    .map(({ id, outcome, reason, failure }) => {
      const why = failure === undefined ? reason : `expected ${failure.expected}; came back: ${failure.received}`;
      return `${id} should have passed: ${outcome}: ${why?.split("\n")[0] ?? ""}`;
    });
  return [...missed, ...strange];
}

/** Waits for the proxies to end, as they do with their shims. @returns what is left of a run of the kit */
async function leftOf(state: string, kit: number): Promise<string[]> {
  const token = `conf-${kit.toString(36)}-`;
  const left = (): string[] => [
    // The state directory is the last word of a proxy's command line. A zombie is its new parent's matter: the machine's.
    ...[`${state}/`, token, "mutation/proxy.ts"].flatMap((word) =>
      findProcesses(word)
        .filter((found) => found.state !== "Z" && (word !== "mutation/proxy.ts" || found.command.endsWith(` ${state}`)))
        .map(({ pid, command }) => `left: process ${pid}: ${command}`),
    ),
    ...findMounts(token).map((path) => `left: mount ${path}`),
  ];
  const end = performance.now() + 3000;
  while (left().length > 0 && performance.now() < end) await Bun.sleep(10);
  return left();
}
