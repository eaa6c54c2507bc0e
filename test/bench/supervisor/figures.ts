/** The figures of the supervisor bench: what each is called, its unit, and what is asked of it. */

import type { Figure } from "../figure.ts";

/** The measurements that `--only` chooses from; each yields one or more figures. */
export const measurementNames = ["memory", "run", "many", "import", "pull", "lists", "events"] as const;

export type MeasurementName = (typeof measurementNames)[number];

const wall = { unit: "s", better: "lower", judged: "ratio" } as const;
const size = { unit: "kB", better: "lower", judged: "ratio" } as const;
const shown = { judged: "none" } as const;

export const figures = [
  { id: "run", measurement: "run", title: "ctr run --rm of an unpacked image, wall", ...wall, must: 1.0, aim: 0.7 },
  { id: "many", measurement: "many", title: "50 ctr run -d at once, to all running", ...wall, must: 1.0, aim: 0.7 },
  { id: "many-down", measurement: "many", title: "  ctr task rm -f of them, at once", ...wall, ...shown },
  { id: "import", measurement: "import", title: "import and unpack", ...wall, must: 1.0, aim: 0.5 },
  { id: "export", measurement: "import", title: "export of the same", ...wall, must: 1.0, aim: 0.7 },
  { id: "remove", measurement: "import", title: "  ctr images rm --sync of it", ...wall, ...shown },
  { id: "pull", measurement: "pull", title: "pull from loopback and unpack", ...wall, must: 1.0, aim: 0.5 },
  { id: "rss", measurement: "memory", title: "RSS idle", ...size, must: 1.2, aim: 0.8 },
  { id: "rss-many", measurement: "memory", title: "RSS with 50 containers", ...size, must: 1.2, aim: 0.8 },
  { id: "rss-busy", measurement: "memory", title: "  RSS right after starting them", ...size, ...shown },
  { id: "list", measurement: "lists", title: "List of 10,000 containers", ...wall, must: 1.5, aim: 0.8 },
  { id: "get", measurement: "lists", title: "Get of one among them", ...wall, must: 1.5, aim: 0.8 },
  { id: "filtered", measurement: "lists", title: "  List of one by a label", ...wall, ...shown },
  { id: "create", measurement: "lists", title: "  Create of each of them, 32 at once", ...wall, ...shown },
  {
    id: "events",
    measurement: "events",
    title: "events to each of 10 subscribers",
    unit: "/s",
    better: "higher",
    judged: "ratio",
    must: 0.7,
    aim: 1,
  },
] as const satisfies readonly Figure[];

/** How much is measured. */
export interface Scale {
  readonly runPairs: number;
  readonly manyPairs: number;
  readonly manyContainers: number;
  readonly imagePairs: number;
  readonly imageBytes: number;
  readonly imageFiles: number;
  readonly memoryPairs: number;
  /** Seconds without a call before memory is read. */
  readonly memorySettle: number;
  readonly listContainers: number;
  readonly listRepeats: number;
  readonly eventPairs: number;
  readonly events: number;
}

/** The sizes that the figures are defined with. */
export const fullScale: Scale = {
  runPairs: 20,
  manyPairs: 5,
  manyContainers: 50,
  imagePairs: 3,
  imageBytes: 500e6,
  imageFiles: 20_000,
  memoryPairs: 2,
  memorySettle: 15,
  listContainers: 10_000,
  listRepeats: 10,
  eventPairs: 3,
  events: 20_000,
};

/** Sizes for a look in between: the same paths, fewer repetitions, a smaller image. */
export const quickScale: Scale = {
  ...fullScale,
  runPairs: 6,
  manyPairs: 2,
  imagePairs: 1,
  imageBytes: 100e6,
  imageFiles: 4_000,
  memoryPairs: 1,
  listRepeats: 5,
  eventPairs: 1,
  events: 10_000,
};
