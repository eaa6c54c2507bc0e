/** Metadata: the key-value pairs that travel with a request (TT-4). */

/** One pair as it stands on the wire; a key may come more than once. */
export interface KeyValue {
  key?: string | null;
  value?: string | null;
}

/** What a caller may give as metadata: a {@link Metadata}, or an object with one or several values by key. */
export type MetadataInit = Metadata | Readonly<Record<string, string | readonly string[]>>;

/**
 * An ordered multi-map of strings. Keys are compared in lower case, as ttrpc's MD does (metadata.go), so they are
 * written in lower case too.
 */
export class Metadata {
  readonly #values = new Map<string, string[]>();

  /** Metadata of the given values; a {@link Metadata} is copied. */
  constructor(init?: MetadataInit) {
    if (init === undefined) return;
    const entries = init instanceof Metadata ? init.entries() : Object.entries(init);
    for (const [key, value] of entries) {
      if (typeof value === "string") this.append(key, value);
      else for (const one of value) this.append(key, one);
    }
  }

  /** Metadata from a request's pairs. */
  static fromPairs(pairs: readonly KeyValue[] | null | undefined): Metadata {
    const metadata = new Metadata();
    if (pairs) for (const pair of pairs) metadata.append(pair.key ?? "", pair.value ?? "");
    return metadata;
  }

  /** The pairs to send. */
  toPairs(): { key: string; value: string }[] {
    const pairs: { key: string; value: string }[] = [];
    for (const [key, values] of this.#values) for (const value of values) pairs.push({ key, value });
    return pairs;
  }

  /** The first value of a key, or undefined. */
  get(key: string): string | undefined {
    return this.#values.get(key.toLowerCase())?.[0];
  }

  /** All values of a key, in order; empty when it has none. */
  getAll(key: string): readonly string[] {
    return this.#values.get(key.toLowerCase()) ?? [];
  }

  /** True when the key has a value. */
  has(key: string): boolean {
    return this.#values.has(key.toLowerCase());
  }

  /** Replaces all values of a key. */
  set(key: string, ...values: string[]): this {
    this.#values.set(key.toLowerCase(), values);
    return this;
  }

  /** Adds a value to a key. */
  append(key: string, value: string): this {
    const name = key.toLowerCase();
    const values = this.#values.get(name);
    if (values === undefined) this.#values.set(name, [value]);
    else values.push(value);
    return this;
  }

  /** Removes a key. */
  delete(key: string): boolean {
    return this.#values.delete(key.toLowerCase());
  }

  /** Number of keys. */
  get size(): number {
    return this.#values.size;
  }

  /** Keys with their values, in the order in which the keys were added. */
  entries(): IterableIterator<[string, readonly string[]]> {
    return this.#values.entries();
  }
}
