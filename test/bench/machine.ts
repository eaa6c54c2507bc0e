/** What a report says about where its figures come from. */

import { readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { findBusybox } from "../lib/image.ts";
import { median } from "./statistics.ts";

/** The machine of a report. */
export interface Machine {
  readonly processor: string;
  readonly cores: number;
  /** In MiB. */
  readonly memory: number;
  readonly kernel: string;
  readonly system: string;
  /** The file system that is measured on. */
  readonly disk: string;
  /** The load average of the last minute when the bench began: what else the machine was doing. */
  readonly load: number;
  /** Seconds that it takes here to run a program that does nothing: part of every figure with a process in it. */
  readonly spawn: number;
}

/** The load average of the last minute. */
export function loadAverage(): number {
  return Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]);
}

/** Describes this machine, and measures how long starting a process takes. */
export async function describeMachine(disk: string): Promise<Machine> {
  const system = readFileSync("/etc/os-release", "utf8");
  const load = loadAverage();
  const spawns: number[] = [];
  for (let count = 0; count < 20; count++) {
    const begin = performance.now();
    await Bun.spawn([findBusybox(), "true"], { stdin: "ignore", stdout: "pipe", stderr: "pipe" }).exited;
    spawns.push((performance.now() - begin) / 1000);
  }
  return {
    processor: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memory: Math.round(totalmem() / 1024 / 1024),
    kernel: release(),
    system: /^PRETTY_NAME="?([^"\n]*)/m.exec(system)?.[1] ?? "unknown",
    disk,
    load,
    spawn: median(spawns),
  };
}

/**
 * The version number in what a program says about itself.
 *
 * @throws Error when it cannot be run
 */
export function versionOf(argv: readonly string[]): string {
  const outcome = Bun.spawnSync([...argv]);
  if (outcome.exitCode !== 0) {
    throw new Error(`${argv.join(" ")}: exit code ${outcome.exitCode}: ${outcome.stderr.toString().trim()}`);
  }
  const text = outcome.stdout.toString().trim();
  return /\b\d+\.\d+\S*/.exec(text)?.[0] ?? text;
}
