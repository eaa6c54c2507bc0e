/** The figures of the shim bench: what each is called, its unit, and what is asked of it. */

import type { Figure } from "../figure.ts";

/** The measurements that `--only` chooses from; each yields one or more figures. */
export const measurementNames = [
  "run",
  "life",
  "crash",
  "exec",
  "many",
  "throughput",
  "logs",
  "idle",
  "leak",
  "burst",
] as const;

export type MeasurementName = (typeof measurementNames)[number];

const wall = { unit: "s", better: "lower", judged: "ratio" } as const;
const rate = { unit: "B/s", better: "higher", judged: "ratio" } as const;
const size = { unit: "kB", better: "lower", judged: "ratio" } as const;
const shown = { judged: "none" } as const;

export const figures = [
  { id: "run", measurement: "run", title: "ctr run --rm true, wall", ...wall, must: 1.05, aim: 0.9 },
  { id: "start", measurement: "life", title: "start to the first answered Connect", ...wall, must: 1.5, aim: 1.0 },
  { id: "delete", measurement: "life", title: "delete of a finished container", ...wall, must: 1.5, aim: 1.0 },
  { id: "task", measurement: "life", title: "Create to Delete of true, by ttrpc", ...wall, ...shown },
  {
    id: "delete-crashed",
    measurement: "crash",
    title: "delete after the shim was killed",
    ...wall,
    must: 1.5,
    aim: 1.0,
  },
  { id: "exec", measurement: "exec", title: "ctr task exec true, wall", ...wall, must: 1.05, aim: 0.9 },
  { id: "exec-ttrpc", measurement: "exec", title: "exec of true, by ttrpc", ...wall, must: 1.05, aim: 0.9 },
  { id: "many", measurement: "many", title: "50 containers at once, ctr task start", ...wall, must: 1.05, aim: 0.9 },
  { id: "many-down", measurement: "many", title: "50 torn down at once, ctr task rm -f", ...wall, ...shown },
  {
    id: "many-direct",
    measurement: "many",
    title: "50 containers at once, shims alone",
    ...wall,
    must: 1.05,
    aim: 0.9,
  },
  { id: "many-direct-down", measurement: "many", title: "50 torn down at once, shims alone", ...wall, ...shown },
  { id: "stdout", measurement: "throughput", title: "stdout through a FIFO", ...rate, must: 2.5, aim: 5 },
  { id: "stdout-exec", measurement: "throughput", title: "stdout of an exec through a FIFO", ...rate, ...shown },
  { id: "stdout-tty", measurement: "throughput", title: "stdout of an exec on a terminal", ...rate, ...shown },
  {
    id: "stdout-ctr",
    measurement: "throughput",
    title: "stdout of ctr run, start and end included",
    ...rate,
    ...shown,
  },
  { id: "log-file", measurement: "logs", title: "lines to file://", ...rate, must: 1, aim: 1.5 },
  { id: "log-raw", measurement: "logs", title: "  with max-size=10m (go: without)", ...rate, ...shown },
  { id: "log-cri", measurement: "logs", title: "  with format=cri too (go: raw)", ...rate, ...shown },
  { id: "log-json", measurement: "logs", title: "  with format=json too (go: raw)", ...rate, ...shown },
  { id: "log-none", measurement: "logs", title: "PSS of an idle shim, output in FIFOs", ...size, ...shown },
  { id: "log-pss", measurement: "logs", title: "PSS of an idle shim that writes a JSON log", ...size, ...shown },
  { id: "pss", measurement: "idle", title: "PSS of a shim, 50 running, idle", ...size, must: 1.5, aim: 1.0 },
  { id: "private-dirty", measurement: "idle", title: "  of it private and dirty", ...size, ...shown },
  { id: "anonymous", measurement: "idle", title: "  of it anonymous", ...size, ...shown },
  {
    id: "wakeups",
    measurement: "idle",
    title: "wake-ups of an idle shim",
    unit: "/min",
    better: "lower",
    judged: "own",
    must: 1,
    aim: 0,
  },
  {
    id: "leak",
    measurement: "leak",
    title: "RSS growth over execs and Stats",
    unit: "x",
    better: "lower",
    judged: "own",
    must: 1.1,
    aim: 1.0,
  },
  { id: "leak-early", measurement: "leak", title: "  RSS after the first tenth", ...size, ...shown },
  { id: "leak-late", measurement: "leak", title: "  RSS after all", ...size, ...shown },
  {
    id: "burst",
    measurement: "burst",
    title: "PSS after a burst of execs, to a fresh shim's",
    unit: "x",
    better: "lower",
    judged: "own",
    must: 1.5,
    aim: 1.1,
  },
  { id: "burst-fresh", measurement: "burst", title: "  PSS of the fresh shims", ...size, ...shown },
  { id: "burst-after", measurement: "burst", title: "  PSS after the burst", ...size, ...shown },
  { id: "burst-anonymous", measurement: "burst", title: "  of it anonymous", ...size, ...shown },
] as const satisfies readonly Figure[];

/** How much is measured. Times are in seconds. */
export interface Scale {
  readonly pairs: number;
  readonly crashPairs: number;
  readonly manyPairs: number;
  readonly manyContainers: number;
  readonly throughputPairs: number;
  readonly throughputBytes: number;
  readonly ttyBytes: number;
  readonly logBytes: number;
  readonly logShims: number;
  readonly idleContainers: number;
  readonly idleSettle: number;
  readonly idleWindow: number;
  readonly leakExecs: number;
  readonly burstExecs: number;
  readonly burstSettle: number;
  readonly burstFresh: number;
}

const mebibyte = 1024 * 1024;

/** The sizes that the figures are defined with. */
export const fullScale: Scale = {
  pairs: 40,
  crashPairs: 15,
  manyPairs: 5,
  manyContainers: 50,
  throughputPairs: 7,
  throughputBytes: 2048 * mebibyte,
  ttyBytes: 64 * mebibyte,
  logBytes: 512 * mebibyte,
  logShims: 5,
  idleContainers: 50,
  idleSettle: 30,
  idleWindow: 60,
  leakExecs: 20_000,
  burstExecs: 1_000,
  burstSettle: 60,
  burstFresh: 9,
};

/** Sizes for a look in between: the same paths, fewer repetitions, shorter waits. */
export const quickScale: Scale = {
  pairs: 12,
  crashPairs: 5,
  manyPairs: 3,
  manyContainers: 50,
  throughputPairs: 5,
  throughputBytes: 1024 * mebibyte,
  ttyBytes: 16 * mebibyte,
  logBytes: 256 * mebibyte,
  logShims: 3,
  idleContainers: 50,
  idleSettle: 30,
  idleWindow: 30,
  leakExecs: 1_000,
  burstExecs: 200,
  burstSettle: 30,
  burstFresh: 4,
};
