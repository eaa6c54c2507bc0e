/** Runs a script on two sides and says, row by row, whether anybody could tell them apart. */

import type { CommandOptions, Result } from "../lib/command.ts";
import { anyNumber, normalise, normaliseBody, type Own, type Rule } from "./normalise.ts";
import type { Side } from "./side.ts";

/** What came of one row on one version. */
export interface Verdict {
  readonly row: string;
  readonly outcome: "equal" | "differs" | "skipped";
  /** How it differs, or why it was skipped; a line each. */
  readonly notes: readonly string[];
  /** ctr calls that were compared. */
  readonly steps: number;
}

/** How a step is compared. */
export interface StepOptions extends CommandOptions {
  /** Further things that must differ. */
  readonly rules?: readonly Rule[];
  /** Lines come in any order. */
  readonly unordered?: boolean;
  /** Numbers are measurements or process ids. */
  readonly numbers?: boolean;
  /** Only exit status and form: what of the output is compared. Undefined compares nothing of it. */
  readonly view?: (stdout: string) => string;
}

/** How the events of a row are compared. */
export interface RowOptions {
  /** Milliseconds for shims to tell their events; longer where a row ends with containers that end by themselves. */
  readonly settle?: number;
  /** Events may come in another order, since several tell them. */
  readonly anyOrder?: boolean;
}

/** Something to be put wrong on side b, to see that it is found. */
export type Seed = "stdout" | "stderr" | "exit" | "event";

/** A comparison under way. */
export class Comparison {
  readonly verdicts: Verdict[] = [];
  readonly version: string;
  readonly sides: readonly [Side, Side];
  readonly #seeds: ReadonlyMap<string, Seed>;
  readonly #only: RegExp | undefined;
  readonly #garbage: [string[], string[]] = [[], []];
  #notes: string[] = [];
  #steps = 0;
  #row = "";

  /** @param seeds rows whose last step is falsified on side b */
  constructor(version: string, sides: readonly [Side, Side], seeds: ReadonlyMap<string, Seed>, only?: RegExp) {
    this.version = version;
    this.sides = sides;
    this.#seeds = seeds;
    this.#only = only;
  }

  /** True when ctr is at least of the version. */
  atLeast(version: string): boolean {
    return Number(this.version) >= Number(version);
  }

  /** One row of the table: steps, and the events of all of them. */
  async row(name: string, body: () => Promise<void>, options: RowOptions = {}): Promise<void> {
    this.#row = name;
    this.#notes = [];
    this.#steps = 0;
    try {
      await body();
    } catch (error) {
      this.#notes.push(`the script stopped: ${(error as Error).message}`);
    }
    const [a, b] = await this.#events(options);
    this.#compareEvents(a.split("\n"), b.split("\n"));
    if (this.#only && !this.#only.test(name)) return;
    const outcome = this.#notes.length === 0 ? "equal" : "differs";
    this.verdicts.push({ row: name, outcome, notes: this.#notes, steps: this.#steps });
  }

  /** A row that cannot be had here. */
  skip(name: string, why: string): void {
    this.verdicts.push({ row: name, outcome: "skipped", notes: [why], steps: 0 });
  }

  /** One ctr call on both sides, compared. Answers what they gave. */
  async ctr(
    args: readonly string[] | ((side: Side) => readonly string[]),
    options: StepOptions = {},
  ): Promise<[Result, Result]> {
    const argsOf = (side: Side): readonly string[] => (typeof args === "function" ? args(side) : args);
    return await this.both((side) => side.ctr(argsOf(side), options), argsOf(this.sides[0]).join(" "), options);
  }

  /** The same of any command that ends. */
  async both(act: (side: Side) => Promise<Result>, what: string, options: StepOptions = {}): Promise<[Result, Result]> {
    const results = (await Promise.all(this.sides.map(act))) as [Result, Result];
    this.check(what, results, options);
    return results;
  }

  /** Compares what two commands have left. */
  check(what: string, results: readonly [Result, Result], options: StepOptions = {}): void {
    this.#steps++;
    const seed = this.#seeds.get(this.#row);
    const rules = [...(options.rules ?? []), ...(options.numbers ? [anyNumber] : [])];
    const shown = results.map((result, at) => {
      const own = ownOf(this.sides[at as 0 | 1]);
      const fake = at === 1 && this.#steps === 1 ? seed : undefined;
      const view = options.view ?? ((text: string) => text);
      const clean = (text: string): string => {
        const lines = normalise(text, own, rules).split("\n");
        return (options.unordered ? lines.sort() : lines).join("\n");
      };
      return {
        stdout: clean(view(result.stdout)) + (fake === "stdout" ? "x" : ""),
        stderr: clean(result.stderr) + (fake === "stderr" ? "x" : ""),
        exit: String(result.exitCode + (fake === "exit" ? 1 : 0)) + (result.timedOut ? " (timed out)" : ""),
      };
    });
    const [a, b] = shown;
    const text = `ctr ${normalise(what, ownOf(this.sides[0]))}`;
    this.#compare(`${text}: exit status`, a?.exit ?? "", b?.exit ?? "");
    this.#compare(`${text}: stdout`, a?.stdout ?? "", b?.stdout ?? "");
    this.#compare(`${text}: stderr`, a?.stderr ?? "", b?.stderr ?? "");
  }

  /** Notes a difference that a script has found by itself. */
  expectEqual(what: string, a: string, b: string): void {
    this.#steps++;
    this.#compare(what, a, b);
  }

  async #events(options: RowOptions): Promise<[string, string]> {
    const texts = await Promise.all(
      this.sides.map(async (side, at) => {
        const events = await side.takeEvents(options.settle ?? 60);
        const lines = events.map(
          (event) =>
            `${normalise(event.namespace, ownOf(side))} ${event.topic} ${normaliseBody(event.body, ownOf(side))}`,
        );
        if (at === 1 && this.#seeds.get(this.#row) === "event") lines.pop();
        if (options.anyOrder) lines.sort();
        return lines.join("\n");
      }),
    );
    return texts as [string, string];
  }

  /**
   * What garbage collection removes goes when it gets to it, in whichever row that is: where the events differ, its
   * are put off until {@link garbage}. containerd 2.1 loses a TaskDelete now and then, since its shim ends before it
   * was sent: one that containerd lacks is no difference.
   */
  #compareEvents(a: readonly string[], b: readonly string[]): void {
    if (a.join("\n") === b.join("\n")) return;
    const late = (line: string): boolean => line.includes(" /snapshot/remove ");
    for (const [at, lines] of [a, b].entries()) this.#garbage[at as 0 | 1].push(...lines.filter(late));
    let [left, right] = [a, b].map((lines) => lines.filter((line) => line !== "" && !late(line))) as [
      string[],
      string[],
    ];
    if (this.atLeast("2.1")) {
      const lost = (line: string): boolean => line.includes(" /tasks/delete ");
      const extra = new Set(without(right, left).filter(lost));
      right = right.filter((line) => !extra.has(line));
      if (this.sides[1].kind === "containerd") {
        const missing = new Set(without(left, right).filter(lost));
        left = left.filter((line) => !missing.has(line));
      }
    }
    this.#compare("events", left.join("\n"), right.join("\n"));
  }

  /** The last row: what was removed as garbage, whenever it was. */
  async garbage(): Promise<void> {
    await this.row("garbage collection", async () => {}, { settle: 300 });
    const notes: string[] = [];
    const [a, b] = this.#garbage.map((lines) => [...lines].sort().join("\n"));
    if (a !== b) notes.push(`snapshots removed\n${difference(a ?? "", b ?? "")}`);
    this.verdicts.pop();
    this.verdicts.push({
      row: "garbage collection",
      outcome: notes.length === 0 ? "equal" : "differs",
      notes,
      steps: 1,
    });
  }

  #compare(what: string, a: string, b: string): void {
    if (a === b) return;
    this.#notes.push(`${what}\n${difference(a, b)}`);
  }
}

function ownOf(side: Side): Own {
  return { namespace: side.namespace, dir: side.daemon.dir, letter: side.letter };
}

/** The lines that one side has and the other has not, at most a few; `-` is containerd's. */
export function difference(a: string, b: string): string {
  const [left, right] = [a.split("\n"), b.split("\n")];
  const missing = without(left, right).map((line) => `    - ${line}`);
  const extra = without(right, left).map((line) => `    + ${line}`);
  if (missing.length + extra.length === 0) {
    const at = left.findIndex((line, index) => line !== right[index]);
    return `    the same lines in another order, from line ${at + 1}: ${left[at]} / ${right[at]}`;
  }
  const cut = (lines: string[]): string[] =>
    (lines.length > 8 ? [...lines.slice(0, 8), `    ... ${lines.length - 8} more`] : lines).map((line) =>
      line.slice(0, 600),
    );
  return [...cut(missing), ...cut(extra)].join("\n");
}

function without(lines: readonly string[], others: readonly string[]): string[] {
  const left = [...others];
  return lines.filter((line) => {
    const at = left.indexOf(line);
    if (at < 0) return true;
    left.splice(at, 1);
    return false;
  });
}
