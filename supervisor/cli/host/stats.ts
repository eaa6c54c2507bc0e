/** `berth stats`. */

import { setTimeout as sleep } from "node:timers/promises";
import { notFound } from "../../../proto/errdefs.ts";
import type { Connection } from "../connect.ts";
import { shown } from "../output/escape.ts";
import { interruptible } from "../output/interrupt.ts";
import { type Listing, listOf } from "../output/list.ts";
import { LiveScreen } from "../output/live.ts";
import { binarySize, decimalSize } from "../output/size.ts";
import { isTerminal, print, widthOf } from "../output/terminal.ts";
import { ExitStatus } from "../status.ts";
import { type ContainerView, containersOf } from "./containers.ts";
import { cpuPercent, type Traffic, trafficOf, type Usage, usageOf } from "./usage.ts";

export interface StatsFlags {
  readonly all?: boolean;
  /** False with `--no-stream`. */
  readonly stream?: boolean;
  readonly format?: string;
  readonly trunc?: boolean;
}

/** Between two readings of a live view. */
const INTERVAL_MS = 1000;
/** Between the two readings that one answer needs. */
const SAMPLE_MS = 500;

/** One container in the list. */
export interface StatsRow {
  readonly container: ContainerView;
  /** Undefined when it does not run. */
  readonly usage: Usage | undefined;
  readonly cpu: number;
  readonly traffic: Traffic | undefined;
}

const listing: Listing<StatsRow> = {
  columns: (full) => [
    { header: "NAME", cell: ({ container }) => shown(container.id), ...(full ? {} : { min: 12 }) },
    { header: "CPU %", cell: ({ usage, cpu }) => (usage ? percent(cpu) : "--"), align: "right" },
    {
      header: "MEM USAGE / LIMIT",
      cell: ({ usage }) => (usage ? `${binarySize(usage.memory)} / ${binarySize(usage.memoryLimit)}` : "-- / --"),
    },
    { header: "MEM %", cell: ({ usage }) => (usage ? percent(memoryPercent(usage)) : "--"), align: "right" },
    { header: "NET I/O", cell: ({ traffic }) => pair(traffic?.received, traffic?.sent), drop: 1 },
    { header: "BLOCK I/O", cell: ({ usage }) => pair(usage?.read, usage?.written), drop: 2 },
    { header: "PIDS", cell: ({ usage }) => (usage ? String(usage.pids) : "--"), align: "right" },
  ],
  item: ({ container, usage, cpu, traffic }) => ({
    ID: container.id,
    Name: container.id,
    Container: container.id,
    CPUPerc: percent(usage ? cpu : 0),
    MemUsage: usage ? `${binarySize(usage.memory)} / ${binarySize(usage.memoryLimit)}` : "0B / 0B",
    MemPerc: percent(usage ? memoryPercent(usage) : 0),
    NetIO: pair(traffic?.received, traffic?.sent),
    BlockIO: pair(usage?.read, usage?.written),
    PIDs: String(usage?.pids ?? 0),
    Status: container.status,
    CPUPercent: usage ? Number(cpu.toFixed(2)) : null,
    MemBytes: usage?.memory ?? null,
    MemLimitBytes: usage?.memoryLimit ?? null,
    NetReceivedBytes: traffic?.received ?? null,
    NetSentBytes: traffic?.sent ?? null,
    BlockReadBytes: usage?.read ?? null,
    BlockWrittenBytes: usage?.written ?? null,
  }),
  id: ({ container }) => container.id,
};

function percent(value: number): string {
  return `${value.toFixed(2)}%`;
}

function memoryPercent({ memory, memoryLimit }: Usage): number {
  return memoryLimit > 0 ? (memory / memoryLimit) * 100 : 0;
}

function pair(a: number | undefined, b: number | undefined): string {
  return a === undefined || b === undefined ? "--" : `${decimalSize(a)} / ${decimalSize(b)}`;
}

/** Reads containers again and again, and knows what they used in between. */
export class StatsReader {
  readonly #connection: Pick<Connection, "api" | "namespace">;
  #before = new Map<string, Usage>();

  constructor(connection: Pick<Connection, "api" | "namespace">) {
    this.#connection = connection;
  }

  /**
   * @param wanted ids; none for all
   * @param all those that do not run, too
   * @throws ContainerdError NotFound, CallError
   */
  async read(wanted: readonly string[], all: boolean): Promise<StatsRow[]> {
    const { api, namespace } = this.#connection;
    const [containers, usages] = await Promise.all([containersOf(api, namespace), usageOf(api, namespace, wanted)]);
    const missing = wanted.filter((id) => containers.every((container) => container.id !== id));
    if (missing.length > 0)
      throw notFound(`there is no container ${missing.map(shown).join(", ")}: berth ps -a lists them`);
    const before = this.#before;
    this.#before = usages;
    return containers
      .filter(({ id, isStopped }) => (wanted.length > 0 ? wanted.includes(id) : all || !isStopped))
      .map((container) => {
        const usage = container.isStopped ? undefined : usages.get(container.id);
        const cpu = usage ? cpuPercent(before.get(container.id), usage) : 0;
        return { container, usage, cpu, traffic: usage && trafficOf(container.pid) };
      });
  }
}

/** Shows what containers use. @returns the exit status */
export async function stats(connection: Connection, ids: readonly string[], flags: StatsFlags): Promise<number> {
  const reader = new StatsReader(connection);
  const read = (): Promise<StatsRow[]> => reader.read(ids, flags.all ?? false);
  const text = (rows: readonly StatsRow[]): string => listOf(rows, listing, flags, widthOf());
  await read();
  await sleep(SAMPLE_MS);
  if (flags.stream === false) {
    await print(text(await read()));
    return 0;
  }
  if (!isTerminal() || (flags.format ?? "table") !== "table") {
    await interruptible(async (signal) => {
      while (!signal.aborted) {
        await print(text(await read()));
        await sleep(INTERVAL_MS, undefined, { signal });
      }
    });
    return 0;
  }
  return live(read, text);
}

async function live(read: () => Promise<StatsRow[]>, text: (rows: readonly StatsRow[]) => string): Promise<number> {
  const stop = new AbortController();
  let ended: number | undefined;
  let rows: StatsRow[] = [];
  const screen = new LiveScreen({
    onKey: (key) => {
      if (key === "q" || key === "ctrl-c") end(0);
    },
    onResize: () => screen.draw(text(rows).split("\n")),
    onSignal: (signal) => end(signal === "SIGINT" ? 0 : 143),
  });
  const end = (status: number): void => {
    ended = status;
    stop.abort();
  };
  screen.open();
  try {
    while (ended === undefined) {
      rows = await read();
      screen.draw(text(rows).split("\n"));
      await sleep(INTERVAL_MS, undefined, { signal: stop.signal }).catch(() => undefined);
    }
  } finally {
    screen.close();
  }
  // The last figures stay on the normal screen.
  await print(text(rows));
  if (ended !== 0) throw new ExitStatus(ended);
  return 0;
}
