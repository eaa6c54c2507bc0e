/**
 * containerd's filter language (pkg/filters): `field.path==value,other!=value`, `field~=regexp`, or a field alone, which
 * asks whether it is there. The parts of one filter must all hold; of several filters one must.
 */

import { invalidArgument } from "../../proto/errdefs.ts";

/** Gives the value of a field path of the thing that is looked at; undefined when it has none. */
export type FieldLookup = (path: readonly string[]) => string | undefined;

/** True for a thing that the filter lets through. */
export type Filter = (lookup: FieldLookup) => boolean;

/** Lets everything through. */
export const always: Filter = () => true;

/**
 * Any of these filters; without one, everything.
 * @throws ContainerdError InvalidArgument with the place of the mistake
 */
export function parseFilters(filters: readonly string[]): Filter {
  const any = filters.map(parseFilter);
  if (any.length === 0 || any.includes(always)) return always;
  return (lookup) => any.some((filter) => filter(lookup));
}

/** The lookup for things that have a few fields by name, and labels: `labels.NAME`, `labels."a.b/c"`. */
export function fieldsOf(
  fields: Readonly<Record<string, string>>,
  labels?: Readonly<Record<string, string>>,
): FieldLookup {
  return (path) => {
    const [first = "", ...rest] = path;
    if (first === "labels") return labels === undefined || rest.length === 0 ? undefined : own(labels, rest.join("."));
    return rest.length === 0 ? own(fields, first) : undefined;
  };
}

/** The value of a label whose name was taken apart at its dots. */
export function labelOf(labels: Readonly<Record<string, string>>, path: readonly string[]): string | undefined {
  return own(labels, path.join("."));
}

function own(values: Readonly<Record<string, string>>, name: string): string | undefined {
  return Object.hasOwn(values, name) ? values[name] : undefined;
}

function parseFilter(text: string): Filter {
  if (text === "") return always;
  const all = new Parser(text).selectors();
  return (lookup) => all.every((selector) => selector(lookup));
}

const field = /[A-Za-z_][A-Za-z0-9_]*/y;
const operator = /==|!=|~=/y;
const bare = /[^\s,"|/]+[^\s,]*/y;

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  selectors(): Filter[] {
    const found = [this.#selector()];
    while (this.#at < this.#text.length) {
      if (this.#text[this.#at] !== ",") this.#fail(`expected a separator`);
      this.#at++;
      found.push(this.#selector());
    }
    return found;
  }

  #selector(): Filter {
    const path = [this.#field()];
    while (this.#text[this.#at] === ".") {
      this.#at++;
      path.push(this.#field());
    }
    const op = this.#match(operator);
    if (op === undefined) return (lookup) => lookup(path) !== undefined;
    const value = this.#value(op === "~=");
    if (op === "==") return (lookup) => lookup(path) === value;
    if (op === "!=") return (lookup) => lookup(path) !== value;
    let pattern: RegExp;
    try {
      pattern = new RegExp(value);
    } catch (error) {
      return this.#fail(error instanceof Error ? error.message : String(error));
    }
    return (lookup) => {
      const found = lookup(path);
      return found !== undefined && pattern.test(found);
    };
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const [found] = pattern.exec(this.#text) ?? [];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #field(): string {
    if (this.#text[this.#at] === '"') return this.#quoted('"');
    return this.#match(field) ?? this.#fail("expected a field or quoted");
  }

  #value(isPattern: boolean): string {
    const next = this.#text[this.#at] ?? "";
    if (next === '"' || (isPattern && (next === "/" || next === "|"))) return this.#quoted(next);
    return this.#match(bare) ?? this.#fail("expected a value or quoted");
  }

  /** What stands between two quotes; a backslash makes the next character itself, as in Go's strings. */
  #quoted(quote: string): string {
    const start = this.#at++;
    let value = "";
    for (;;) {
      const char = this.#text[this.#at++];
      if (char === undefined) {
        this.#at = start;
        return this.#fail("unterminated quoted string");
      }
      if (char === quote) return value;
      if (char !== "\\") {
        value += char;
        continue;
      }
      const escaped = this.#text[this.#at++] ?? "";
      if (escaped === quote || (escaped === "\\" && quote === '"')) value += escaped;
      else if (quote === '"' && "nrt".includes(escaped)) value += { n: "\n", r: "\r", t: "\t" }[escaped] ?? "";
      else value += char + escaped;
    }
  }

  #fail(what: string): never {
    const marked = `${this.#text.slice(0, this.#at)} >|${this.#text[this.#at] ?? ""}|< ${this.#text.slice(this.#at + 1)}`;
    throw invalidArgument(`filters: parse error: [${marked}]: ${what}: invalid argument`);
  }
}
