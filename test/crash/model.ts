/** What a daemon has promised: everything it said was done, and nothing that it has not answered yet. */

/** What is known of one thing. `unsure`: a call that changes it has begun and was not answered with success. */
export type Known = "present" | "absent" | "unsure";

interface Entry {
  known: Known;
  /** What the thing must look like, when it is there. */
  detail: string;
  /** Raised when a change begins. */
  version: number;
  /** True while a change is under way. */
  busy: boolean;
  /** What happened to it, the last of it, for a person. */
  readonly history: string[];
}

/** What was promised at one moment. */
export type Promises = ReadonlyMap<string, Readonly<Entry>>;

/** The things that a load has made and removed, by kind and name. */
export class Model {
  readonly #entries = new Map<string, Entry>();
  /** Calls that succeeded. */
  done = 0;
  /** Calls that did not, since the daemon went away or refused. */
  failed = 0;

  /**
   * Does a change and notes what is known before, while and after. Does nothing while another change of it is under way:
   * of two at once nobody could tell which was last.
   * @param after what is known when the change succeeds
   */
  async change(key: string, after: "present" | "absent", body: () => Promise<unknown>, detail = ""): Promise<boolean> {
    const entry = this.#entries.get(key) ?? { known: "absent", detail, version: 0, busy: false, history: [] };
    if (entry.busy) return false;
    entry.busy = true;
    entry.known = "unsure";
    entry.version++;
    if (detail !== "") entry.detail = detail;
    this.#entries.set(key, entry);
    note(entry, `to be ${after}`);
    try {
      await body();
      entry.known = after;
      note(entry, `is ${after}`);
      this.done++;
      return true;
    } catch (error) {
      note(entry, `failed: ${(error as Error).message}`.slice(0, 200));
      this.failed++;
      return false;
    } finally {
      entry.busy = false;
    }
  }

  /** The names of a kind that are surely there. */
  present(kind: string): string[] {
    return [...this.#entries]
      .filter(([key, { known }]) => known === "present" && key.startsWith(`${kind}/`))
      .map(([key]) => key.slice(kind.length + 1));
  }

  /** What is promised now. */
  promises(): Promises {
    return new Map([...this.#entries].map(([key, entry]) => [key, { ...entry }]));
  }

  /** What was promised then and has not been touched since. */
  untouched(then: Promises): Promises {
    return new Map([...then].filter(([key, { version }]) => this.#entries.get(key)?.version === version));
  }

  /** Notes what was found, so that the load can go on from there. */
  settle(there: ReadonlyMap<string, string>): void {
    for (const [key, entry] of this.#entries) {
      if (entry.known !== "unsure") continue;
      entry.known = there.has(key) ? "present" : "absent";
      note(entry, `found ${entry.known}`);
    }
  }

  /** Forgets things of a kind, for those that do not outlive what happened. */
  forget(kind: string): void {
    for (const key of this.#entries.keys()) if (key.startsWith(`${kind}/`)) this.#entries.delete(key);
  }
}

function note(entry: Entry, what: string): void {
  entry.history.push(`${new Date().toISOString().slice(11)} ${what}`);
  if (entry.history.length > 12) entry.history.shift();
}

/**
 * What is wrong with what is there: a sentence for each promise that is not kept.
 * @param there things by kind and name, with what they look like
 */
export function broken(promises: Promises, there: ReadonlyMap<string, string>): string[] {
  const wrong: string[] = [];
  for (const [key, { known, detail, history }] of promises) {
    const found = there.get(key);
    const told = `(${history.join("; ")})`;
    if (known === "present" && found === undefined) wrong.push(`${key} was promised and is not there ${told}`);
    else if (known === "absent" && found !== undefined) wrong.push(`${key} was removed and is there ${told}`);
    else if (known === "present" && detail !== "" && found !== "" && found !== detail)
      wrong.push(`${key} should be ${detail} and is ${found}`);
  }
  return wrong;
}
