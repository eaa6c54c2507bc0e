/** Reads a text of TOML by the table: defaults filled in, unknown keys and wrong values refused. */

import { isTable } from "./kinds.ts";
import { brokenLine, joinPath, type Lines, lineOf, linesOf } from "./lines.ts";
import { nearest } from "./nearest.ts";
import type { Key, Level, Named, Section } from "./table.ts";

/** `max_size` of the file is `maxSize` of the program. */
type Camel<S extends string> = S extends `${infer A}_${infer B}` ? `${A}${Capitalize<Camel<B>>}` : S;

/** What a level of the table is read into. */
export type Values<L> = {
  readonly [K in keyof L as Camel<K & string>]: L[K] extends Key<infer T>
    ? T
    : L[K] extends Section<infer C>
      ? Values<C>
      : L[K] extends Named<infer C>
        ? ReadonlyMap<string, Values<C>>
        : never;
};

/** A configuration that cannot be used: one sentence for each thing wrong. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/**
 * Reads a configuration.
 * @param text TOML
 * @throws ConfigError for a text that is not TOML, unknown keys and values of another kind
 */
export function readConfiguration<const L extends Level>(level: L, text: string): Values<L> {
  const problems: string[] = [];
  const reader = new Reader(level, linesOf(text), problems);
  const values = reader.read(level, parse(text), []);
  if (problems.length > 0) throw new ConfigError(problems.join("\n"));
  return values as Values<L>;
}

class Reader {
  readonly #root: Level;
  readonly #lines: Lines;
  readonly #problems: string[];

  constructor(root: Level, lines: Lines, problems: string[]) {
    this.#root = root;
    this.#lines = lines;
    this.#problems = problems;
  }

  read(level: Level, found: Readonly<Record<string, unknown>>, path: readonly string[]): Record<string, unknown> {
    for (const name of Object.keys(found)) {
      if (!Object.hasOwn(level, name)) this.#unknown([...path, name], level);
    }
    const values: Record<string, unknown> = {};
    for (const [name, entry] of Object.entries(level)) {
      const value = Object.hasOwn(found, name) ? found[name] : undefined;
      values[camelCase(name)] = this.#entry(entry, value, [...path, name]);
    }
    return values;
  }

  #entry(entry: Level[string], value: unknown, path: readonly string[]): unknown {
    if ("kind" in entry) {
      const { kind } = entry;
      const read = kind.read(value ?? entry.fallback);
      if (read === undefined) this.#wrong(path, kind.expected, value);
      return read;
    }
    const inside = value ?? {};
    if (!isTable(inside)) {
      this.#wrong(path, "a table", value);
      return undefined;
    }
    if ("keys" in entry) return this.read(entry.keys, inside, path);
    const named = new Map<string, unknown>();
    for (const [name, each] of Object.entries(inside)) {
      if (isTable(each)) named.set(name, this.read(entry.each, each, [...path, name]));
      else this.#wrong([...path, name], "a table", each);
    }
    return named;
  }

  #unknown(path: readonly string[], level: Level): void {
    const name = path.at(-1) ?? "";
    const above = path.slice(0, -1);
    const near = nearest(name, Object.keys(level));
    const meant = near ? [...above, near] : this.#elsewhere(name);
    const hint = meant ? `: did you mean ${joinPath(meant)}?` : "; `berthd config default` lists every key";
    this.#problems.push(`unknown key ${this.#where(path)}${hint}`);
  }

  /** The path of a key of this very name in another section. */
  #elsewhere(name: string): string[] | undefined {
    if (Object.hasOwn(this.#root, name)) return [name];
    for (const [section, entry] of Object.entries(this.#root)) {
      if ("keys" in entry && Object.hasOwn(entry.keys, name)) return [section, name];
    }
    return undefined;
  }

  #wrong(path: readonly string[], expected: string, value: unknown): void {
    const [key, line] = [joinPath(path), lineOf(this.#lines, path)];
    const at = line === undefined ? "" : ` at line ${line}`;
    this.#problems.push(`wrong value of ${key}${at}: expected ${expected}, not ${describe(value)}`);
  }

  #where(path: readonly string[]): string {
    const line = lineOf(this.#lines, path);
    return line === undefined ? joinPath(path) : `${joinPath(path)} at line ${line}`;
  }
}

function parse(text: string): Readonly<Record<string, unknown>> {
  try {
    return Bun.TOML.parse(text) as Record<string, unknown>;
  } catch (error) {
    const why = (error as Error).message.replace(/^TOML Parse error: /, "");
    throw new ConfigError(`line ${brokenLine(text, parses)} is not TOML: ${why}`);
  }
}

function parses(text: string): boolean {
  try {
    Bun.TOML.parse(text);
    return true;
  } catch {
    return false;
  }
}

function describe(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (isTable(value)) return "a table";
  if (typeof value === "object") return "a date";
  return JSON.stringify(value) ?? "nothing";
}

function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
