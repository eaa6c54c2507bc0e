/** A bench that measures the same figures of several runtimes in one run: its command line, its course, its report. */

import { openDisk } from "./disk.ts";
import { type Figure, parseOnly, parseScale, Samples } from "./figure.ts";
import { describeMachine, loadAverage, type Machine } from "./machine.ts";
import { formatJson, formatMarkdown, formatTable, makeRows, type Report, type ReportedRuntime } from "./report.ts";

/** The options that all of these have, for parseArgs. */
export const comparisonOptions = {
  quick: { type: "boolean", default: false },
  json: { type: "boolean", default: false },
  markdown: { type: "boolean", default: false },
  only: { type: "string" },
  scale: { type: "string" },
} as const;

/** Their part of a usage text. */
export function comparisonUsage(
  quick: string,
  { names, full }: { names: readonly string[]; full: object },
  own: readonly string[] = [],
): string {
  return [
    `  --quick            ${quick}: a look, not a proof`,
    `  --only NAME,...    of ${names.join(", ")}`,
    ...own,
    "  --json             all samples, for programs",
    "  --markdown         the table as Markdown",
    `  --scale KEY=N,...  sizes other than the usual: ${Object.keys(full).join(", ")}`,
  ].join("\n");
}

/** What those options say. */
interface Flags {
  readonly quick: boolean;
  readonly json: boolean;
  readonly markdown: boolean;
  readonly only?: string | undefined;
  readonly scale?: string | undefined;
}

/** What a bench is made of. */
interface Parts<N extends string, S> {
  /** Its name on the command line. */
  readonly bench: string;
  readonly figures: readonly Figure[];
  readonly names: readonly N[];
  /** Sizes: those that the figures are defined with, and those for a look. */
  readonly full: S;
  readonly quick: S;
}

/** One run of such a bench. */
export class Comparison<N extends string, S extends { readonly [K in keyof S]: number }> {
  readonly names: readonly N[];
  readonly scale: S;
  readonly samples = new Samples();
  /** Measurements that ended early, and why. */
  readonly failures: string[] = [];
  readonly #parts: Parts<N, S>;
  readonly #args: readonly string[];
  readonly #flags: Flags;
  #begin = 0;
  #machine: Machine | undefined;

  /** @throws UsageError */
  constructor(parts: Parts<N, S>, args: readonly string[], flags: Flags) {
    this.#parts = parts;
    this.#args = args;
    this.#flags = flags;
    this.names = parseOnly(parts.names, flags.only);
    this.scale = parseScale(flags.quick ? parts.quick : parts.full, flags.scale);
  }

  /** Begins: a disk to work on, and the machine as it is before anything runs. */
  async begin(): ReturnType<typeof openDisk> {
    const disk = await openDisk();
    this.#machine = await describeMachine(disk.description);
    this.#begin = performance.now();
    return disk;
  }

  /** Progress, on stderr. */
  readonly say = (text: string): void => console.error(`bench ${Math.round(this.#seconds)} s: ${text}`);

  get #seconds(): number {
    return (performance.now() - this.#begin) / 1000;
  }

  /** Cleans up when somebody ends the bench. */
  closeOnSignal(close: () => Promise<void>): void {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.once(signal, () => {
        this.say(`${signal}: cleaning up`);
        close().finally(() => process.exit(1));
      });
    }
  }

  /** Measures one after another. One that fails leaves the others what they have to say; its figures may lack samples. */
  async measure(one: (name: N) => Promise<void>): Promise<void> {
    for (const name of this.names) {
      this.say(name);
      try {
        await one(name);
      } catch (error) {
        this.failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
        this.say(this.failures.at(-1) ?? "");
      }
    }
  }

  /** Prints the report on stdout. @returns false when a measurement failed; the report says how */
  print(versions: Record<string, string>, runtimes: readonly ReportedRuntime[]): boolean {
    const { bench, figures } = this.#parts;
    if (this.#machine === undefined) throw new Error("the bench has not begun");
    const report: Report = {
      bench,
      date: new Date().toISOString().slice(0, 10),
      quick: this.#flags.quick,
      command: `npm run bench -- ${bench} ${this.#args.join(" ")}`.trim(),
      machine: this.#machine,
      loadAtEnd: loadAverage(),
      versions,
      runtimes,
      scale: { ...this.scale },
      seconds: this.#seconds,
      failures: this.failures,
      rows: makeRows(
        figures,
        this.samples,
        runtimes.map(({ name }) => name),
      ),
    };
    const format = this.#flags.json ? formatJson : this.#flags.markdown ? formatMarkdown : formatTable;
    process.stdout.write(format(report));
    return this.failures.length === 0;
  }
}
