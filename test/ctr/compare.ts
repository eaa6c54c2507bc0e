/** Runs a script on two sides and says, row by row, whether anybody could tell them apart. */

import type { CommandOptions, Result } from "../lib/command.ts";
import { anyNumber, normalise, normaliseBody, type Own, type Rule } from "./normalise.ts";
import type { Side } from "./side.ts";

/** What came of one row on one version. */
export interface Verdict {
  readonly row: string;
  /**
   * `as newest`: not as containerd of ctr's version, but exactly as the containerd that berthd says it is. `known`: it
   * differs in what the notes say, and is meant to.
   */
  readonly outcome: "equal" | "as newest" | "known" | "differs" | "skipped";
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
  /** A difference that is meant: lines of berthd's stderr that containerd does not have. */
  readonly known?: { readonly lines: RegExp; readonly why: string };
}

/** How the events of a row are compared. */
export interface RowOptions {
  /** Milliseconds for shims to tell their events; longer where a row ends with containers that end by themselves. */
  readonly settle?: number;
  /** Events may come in another order, since several tell them. */
  readonly anyOrder?: boolean;
  /** Further things that must differ in events. */
  readonly rules?: readonly Rule[];
}

/** Something to be put wrong on side b, to see that it is found. */
export type Seed = "stdout" | "stderr" | "exit" | "event";

/** What is compared, of every side. */
type Texts = readonly string[];

/**
 * A comparison under way. The first side is containerd of ctr's version, the second the one under test; a third, where
 * there is one, is the containerd whose behaviour the second announces.
 */
export class Comparison {
  readonly verdicts: Verdict[] = [];
  readonly version: string;
  readonly sides: readonly Side[];
  readonly #seeds: ReadonlyMap<string, Seed>;
  readonly #only: RegExp | undefined;
  readonly #garbage: string[][];
  #notes: string[] = [];
  /** What was as the third side and not as the first. */
  #newer: string[] = [];
  #known: string[] = [];
  #steps = 0;
  #row = "";

  /** @param seeds rows whose first step, or last event, is falsified on the second side */
  constructor(version: string, sides: readonly Side[], seeds: ReadonlyMap<string, Seed>, only?: RegExp) {
    this.version = version;
    this.sides = sides;
    this.#seeds = seeds;
    this.#only = only;
    this.#garbage = sides.map(() => []);
  }

  /** True when ctr is at least of the version. */
  atLeast(version: string): boolean {
    return Number(this.version) >= Number(version);
  }

  /** One row of the table: steps, and the events of all of them. */
  async row(name: string, body: () => Promise<void>, options: RowOptions = {}): Promise<void> {
    this.#row = name;
    this.#notes = [];
    this.#newer = [];
    this.#known = [];
    this.#steps = 0;
    try {
      await body();
    } catch (error) {
      this.#notes.push(`the script stopped: ${(error as Error).message}`);
    }
    this.#compareEvents(await this.#events(options));
    this.#conclude(name);
  }

  #conclude(row: string): void {
    if (this.#only && !this.#only.test(row)) return;
    const steps = this.#steps;
    if (this.#notes.length > 0) this.verdicts.push({ row, outcome: "differs", notes: this.#notes, steps });
    else if (this.#known.length > 0)
      this.verdicts.push({ row, outcome: "known", notes: [...new Set(this.#known)], steps });
    else if (this.#newer.length > 0) this.verdicts.push({ row, outcome: "as newest", notes: this.#newer, steps });
    else this.verdicts.push({ row, outcome: "equal", notes: [], steps });
  }

  /** A row that cannot be had here. */
  skip(name: string, why: string): void {
    this.verdicts.push({ row: name, outcome: "skipped", notes: [why], steps: 0 });
  }

  /** One ctr call on all sides, compared. Answers what they gave. */
  async ctr(
    args: readonly string[] | ((side: Side) => readonly string[]),
    options: StepOptions = {},
  ): Promise<Result[]> {
    const argsOf = (side: Side): readonly string[] => (typeof args === "function" ? args(side) : args);
    const first = this.sides[0];
    return await this.both((side) => side.ctr(argsOf(side), options), first ? argsOf(first).join(" ") : "", options);
  }

  /** The same of any command that ends. */
  async both(act: (side: Side) => Promise<Result>, what: string, options: StepOptions = {}): Promise<Result[]> {
    const results = await Promise.all(this.sides.map(act));
    this.check(what, results, options);
    return results;
  }

  /** Compares what a command has left on each side. */
  check(what: string, results: readonly Result[], options: StepOptions = {}): void {
    this.#steps++;
    const seed = this.#steps === 1 ? this.#seeds.get(this.#row) : undefined;
    const rules = [...(options.rules ?? []), ...(options.numbers ? [anyNumber] : [])];
    const { view = (text: string) => text, known, unordered } = options;
    const clean = (text: string, side: Side): string => {
      const lines = normalise(text, ownOf(side), rules).split("\n");
      return (unordered ? lines.sort() : lines).join("\n");
    };
    const shown = this.sides.map((side, at) => {
      const result = results[at];
      const fake = at === 1 ? seed : undefined;
      let stderr = clean(result?.stderr ?? "", side) + (fake === "stderr" ? "x" : "");
      if (known && at === 1) {
        const rest = stderr.split("\n").filter((line) => !known.lines.test(line));
        if (rest.join("\n") !== stderr) this.#known.push(known.why);
        stderr = rest.join("\n");
      }
      return {
        stdout: clean(view(result?.stdout ?? ""), side) + (fake === "stdout" ? "x" : ""),
        stderr,
        exit: String((result?.exitCode ?? 0) + (fake === "exit" ? 1 : 0)) + (result?.timedOut ? " (timed out)" : ""),
      };
    });
    const first = this.sides[0];
    const text = `ctr ${first ? normalise(what, ownOf(first)) : what}`.slice(0, 200);
    this.#compare(
      `${text}: exit status`,
      shown.map((one) => one.exit),
    );
    this.#compare(
      `${text}: stdout`,
      shown.map((one) => one.stdout),
    );
    this.#compare(
      `${text}: stderr`,
      shown.map((one) => one.stderr),
    );
  }

  /** Compares what a script has found out by itself. */
  async expectEqual(what: string, find: (side: Side, at: number) => string | Promise<string>): Promise<void> {
    this.#steps++;
    this.#compare(what, await Promise.all(this.sides.map(find)));
  }

  async #events(options: RowOptions): Promise<string[][]> {
    return await Promise.all(
      this.sides.map(async (side, at) => {
        const events = await side.takeEvents(options.settle ?? 60);
        const own = ownOf(side);
        const lines = events.map(
          (event) => `${normalise(event.namespace, own)} ${event.topic} ${normaliseBody(event.body, own)}`,
        );
        if (at === 1 && this.#seeds.get(this.#row) === "event") lines.pop();
        const clean = lines.map((line) =>
          (options.rules ?? []).reduce((text, [from, to]) => text.replace(from, to), line),
        );
        return options.anyOrder ? clean.sort() : clean;
      }),
    );
  }

  /**
   * What garbage collection removes goes when it gets to it, in whichever row that is: where the events differ, its
   * are put off until {@link garbage}. containerd 2.1 loses a TaskDelete now and then, since its shim ends before it
   * was sent: one that containerd lacks is no difference.
   */
  #compareEvents(all: readonly string[][]): void {
    const texts = all.map((lines) => lines.join("\n"));
    if (texts.every((text) => text === texts[0])) return;
    const late = (line: string): boolean => line.includes(" /snapshot/remove ");
    for (const [at, lines] of all.entries()) this.#garbage[at]?.push(...lines.filter(late));
    const prompt = all.map((lines) => lines.filter((line) => line !== "" && !late(line)));
    const under = prompt[1] ?? [];
    const found = prompt.map((lines, at) => {
      if (at === 1) return lines;
      const lost = without(under, lines).filter((line) => line.includes(" /tasks/delete "));
      return lost.length > 0 && (this.atLeast("2.1") || at === 2) ? [...lines, ...lost].sort() : lines;
    });
    // With what was lost put in, the order of the others says nothing.
    const patched = found.some((lines, at) => lines.length !== prompt[at]?.length);
    const both = this.sides[1]?.kind === "containerd" && this.atLeast("2.1");
    const comparable = (lines: readonly string[]): string =>
      (patched || both ? [...lines].sort() : lines)
        .filter((line) => !(both && line.includes(" /tasks/delete ")))
        .join("\n");
    this.#compare("events", found.map(comparable));
  }

  /** The last row: what was removed as garbage, whenever it was. */
  async garbage(): Promise<void> {
    await this.row("garbage collection", async () => {}, { settle: 300 });
    this.verdicts.pop();
    [this.#notes, this.#newer, this.#known, this.#steps] = [[], [], [], 1];
    this.#compare(
      "snapshots removed",
      this.#garbage.map((lines) => [...lines].sort().join("\n")),
    );
    this.#conclude("garbage collection");
  }

  #compare(what: string, texts: Texts): void {
    const [expected = "", actual = "", newest] = texts;
    if (actual === expected) return;
    const note = `${what}\n${difference(expected, actual)}`;
    if (actual === newest) this.#newer.push(note);
    else
      this.#notes.push(
        newest === undefined ? note : `${note}\n   and to the newest containerd\n${difference(newest, actual)}`,
      );
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
