/**
 * CPU and memory of containers, measured only when somebody asks: each question is a measurement, and the last minutes of
 * them are kept for plots. Nobody asks, nothing is measured, and what was kept is forgotten with the next question.
 */

import type { MeteredTask } from "../metrics/containers.ts";
import { type CgroupUsage, usageOf } from "../metrics/usage.ts";

/** One measurement of one container. */
export interface Usage {
  /** Percent of one processor since the measurement before; undefined for the first. */
  readonly cpu: number | undefined;
  /** Bytes, without what the kernel can take back. */
  readonly memory: number;
  /** Bytes; 0 without a limit. */
  readonly memoryLimit: number;
}

/** Usage with the latest ones before it, the oldest first. */
export interface Measured extends Usage {
  readonly cpuPlot: readonly number[];
  readonly memoryPlot: readonly number[];
}

/** Measurements of a container that are kept. */
const KEPT = 90;
/** Two questions within this time are one measurement, in milliseconds. */
const LEAST_MS = 900;
/** What is older than this is not joined with what is measured now. */
const FORGOTTEN_MS = 60_000;
/** How long a shim may take. */
const STATS_MS = 2000;
/** Shims that are asked at the same time. */
const PARALLEL = 16;

interface Series {
  at: number;
  cpuMicros: number;
  usage: Usage;
  readonly cpu: number[];
  readonly memory: number[];
}

/** The measurements of one daemon. */
export class Sampler {
  readonly #tasks: () => Promise<readonly MeteredTask[]>;
  readonly #series = new Map<string, Series>();
  #measuring: Promise<void> | undefined;
  #last = Number.NEGATIVE_INFINITY;

  constructor(tasks: () => Promise<readonly MeteredTask[]>) {
    this.#tasks = tasks;
  }

  /** Measures all containers, unless that was just done; those that do not answer have no usage. */
  async measure(): Promise<void> {
    if (performance.now() - this.#last < LEAST_MS) return;
    this.#measuring ??= this.#measure().finally(() => {
      this.#measuring = undefined;
    });
    await this.#measuring;
  }

  /** The last measurement of a container. */
  usage(namespace: string, id: string): Measured | undefined {
    const series = this.#series.get(`${namespace}/${id}`);
    return series && { ...series.usage, cpuPlot: series.cpu, memoryPlot: series.memory };
  }

  async #measure(): Promise<void> {
    const begun = performance.now();
    if (begun - this.#last > FORGOTTEN_MS) this.#series.clear();
    const tasks = await this.#tasks();
    const seen = new Set<string>();
    const waiting = tasks.values();
    const work = async (): Promise<void> => {
      for (const task of waiting) {
        const key = `${task.namespace}/${task.id}`;
        const read = await readUsage(task).catch(() => undefined);
        if (read === undefined) continue;
        seen.add(key);
        this.#note(key, read);
      }
    };
    await Promise.all(Array.from({ length: Math.min(PARALLEL, tasks.length) }, work));
    for (const key of this.#series.keys()) if (!seen.has(key)) this.#series.delete(key);
    this.#last = performance.now();
  }

  #note(key: string, { cpuMicros, memory, memoryLimit }: CgroupUsage): void {
    const at = performance.now();
    const before = this.#series.get(key);
    // A container that began anew counts from zero.
    const isSame = before !== undefined && cpuMicros >= before.cpuMicros;
    const cpu = isSame ? ((cpuMicros - before.cpuMicros) / 1000 / (at - before.at)) * 100 : undefined;
    const usage = { cpu, memory, memoryLimit };
    const series = isSame ? before : { at, cpuMicros, usage, cpu: [], memory: [] };
    Object.assign(series, { at, cpuMicros, usage });
    if (cpu !== undefined) push(series.cpu, Math.round(cpu * 10) / 10);
    push(series.memory, memory);
    this.#series.set(key, series);
  }
}

function push(values: number[], value: number): void {
  values.push(value);
  if (values.length > KEPT) values.shift();
}

async function readUsage(task: MeteredTask): Promise<CgroupUsage | undefined> {
  const stats = await task.stats(AbortSignal.timeout(STATS_MS));
  return stats && usageOf(stats);
}
