/** What `berth doctor` finds: one line each, with what to do. */

/** How bad it is. */
export type Level = "ok" | "warn" | "fail";

/** One thing that was looked at. */
export interface Diagnosis {
  /** Such as `kernel`. */
  readonly area: string;
  readonly name: string;
  readonly level: Level;
  /** What was found. */
  readonly detail: string;
  /** What to do about it; undefined when it is well. */
  readonly advice?: string;
}

/** What is known of the place that is looked at. */
export interface Place {
  /** The daemon's socket. */
  readonly address: string;
  /** The daemon's directories. */
  readonly root: string;
  readonly state: string;
  /** Put before absolute paths of the machine: for tests. */
  readonly prefix: string;
}

/** Looks at one part of the machine. Must not throw: what cannot be read is a diagnosis too. */
export type Look = (place: Place) => Diagnosis[] | Promise<Diagnosis[]>;

/** Makes diagnoses of one area. */
export function area(name: string) {
  const make =
    (level: Level) =>
    (what: string, detail: string, advice?: string): Diagnosis => ({
      area: name,
      name: what,
      level,
      detail,
      ...(advice === undefined ? {} : { advice }),
    });
  return { ok: make("ok"), warn: make("warn"), fail: make("fail") };
}
