/** What a bench measures: figures with their limits, and samples of them. */

export type Unit = "s" | "B/s" | "kB" | "x" | "/min" | "/s";

/**
 * How a figure is judged: `ratio` is the last subject's median over the first subject's, `own` is each subject's own
 * median against the limit, `none` is shown for information.
 */
export type Judgement = "ratio" | "own" | "none";

export interface Figure {
  readonly id: string;
  /** What `--only` chooses it by. */
  readonly measurement: string;
  readonly title: string;
  readonly unit: Unit;
  readonly better: "lower" | "higher";
  readonly judged: Judgement;
  /** The limit that must be kept: an upper bound when lower is better, else a lower bound. */
  readonly must?: number;
  /** The limit that is aimed at. */
  readonly aim?: number;
}

/** The samples of every figure so far, by figure and subject. */
export class Samples {
  readonly #values = new Map<string, Map<string, number[]>>();

  /** Records one sample. */
  add(figure: string, subject: string, value: number): void {
    const bySubject = this.#values.get(figure) ?? new Map<string, number[]>();
    this.#values.set(figure, bySubject);
    const values = bySubject.get(subject) ?? [];
    bySubject.set(subject, values);
    values.push(value);
  }

  /** The samples of one figure of one subject, in the order they were taken; empty when not measured. */
  of(figure: string, subject: string): readonly number[] {
    return this.#values.get(figure)?.get(subject) ?? [];
  }
}

/** A wrong command line; the message says what is wrong. */
export class UsageError extends Error {
  override name = "UsageError";
}

/** The measurements that `--only` names. @throws UsageError */
export function parseOnly<N extends string>(names: readonly N[], text: string | undefined): N[] {
  const chosen = text?.split(",") ?? [...names];
  const wrong = chosen.find((name) => !names.some((known) => known === name));
  if (wrong !== undefined) throw new UsageError(`no measurement ${JSON.stringify(wrong)}`);
  return names.filter((name) => chosen.includes(name));
}

/** A scale with the sizes that `--scale` changes. @throws UsageError */
export function parseScale<S extends { readonly [K in keyof S]: number }>(base: S, text: string | undefined): S {
  const scale: Record<string, number> = { ...base };
  for (const pair of text?.split(",") ?? []) {
    const [key = "", value = ""] = pair.split("=");
    if (scale[key] === undefined || !(Number(value) > 0)) throw new UsageError(`no size ${JSON.stringify(pair)}`);
    scale[key] = Number(value);
  }
  return { ...base, ...scale };
}
