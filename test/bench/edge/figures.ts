/** The figures of the edge bench: a node that docker, podman or berth looks after. */

import type { Figure } from "../figure.ts";

/** The measurements that `--only` chooses from; each yields one or more figures. */
export const measurementNames = ["memory", "writes", "run", "boot", "upgrade"] as const;

export type MeasurementName = (typeof measurementNames)[number];

const wall = { unit: "s", better: "lower", judged: "ratio" } as const;
const size = { unit: "kB", better: "lower", judged: "none" } as const;

export const figures = [
  { id: "idle", measurement: "memory", title: "PSS of an idle node", ...size },
  { id: "twenty", measurement: "memory", title: "PSS with 20 containers, idle", ...size },
  { id: "written", measurement: "writes", title: "written to disk per hour, 20 idle containers", ...size },
  { id: "written-checks", measurement: "writes", title: "  with a health check every 10 s on each", ...size },
  { id: "run", measurement: "run", title: "run --rm --network none, wall", ...wall, must: 1, aim: 0.7 },
  { id: "run-network", measurement: "run", title: "run --rm on the default network, wall", ...wall, must: 1, aim: 0.7 },
  { id: "run-detached", measurement: "run", title: "  run -d on the default network, wall", ...wall, judged: "none" },
  { id: "boot", measurement: "boot", title: "boot to 50 containers running", ...wall, must: 1, aim: 0.7 },
  { id: "boot-network", measurement: "boot", title: "  to 20 on the default network", ...wall, judged: "none" },
  { id: "upgrade-full", measurement: "upgrade", title: "  pulled for the 500 MB image", ...size },
  { id: "upgrade", measurement: "upgrade", title: "pulled for its next version, 1 % changed", ...size },
  { id: "upgrade-time", measurement: "upgrade", title: "  time of that pull", ...wall, judged: "none" },
] as const satisfies readonly Figure[];

/** How much is measured. */
export interface Scale {
  readonly runPairs: number;
  readonly bootPairs: number;
  readonly bootContainers: number;
  readonly networkContainers: number;
  readonly containers: number;
  /** Seconds without a call before memory is read. */
  readonly settle: number;
  /** Seconds over which writes are counted. */
  readonly writesFor: number;
  readonly imageBytes: number;
  readonly imageFiles: number;
}

/** The sizes that the figures are defined with. */
export const fullScale: Scale = {
  runPairs: 10,
  bootPairs: 3,
  bootContainers: 50,
  networkContainers: 20,
  containers: 20,
  settle: 30,
  writesFor: 300,
  imageBytes: 500e6,
  imageFiles: 20_000,
};

/** Sizes for a look in between. */
export const quickScale: Scale = {
  ...fullScale,
  runPairs: 3,
  bootPairs: 1,
  settle: 15,
  writesFor: 60,
  imageBytes: 50e6,
  imageFiles: 2_000,
};
