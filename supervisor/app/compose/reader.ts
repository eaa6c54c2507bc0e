/** Readers of nodes: each says what it expects, gives a typed value, or notes a problem and gives undefined. */

import { nearest } from "../../config/nearest.ts";
import { describe, type MapNode, type Node, type TextNode } from "./node.ts";
import type { Problems } from "./problem.ts";

/** Reads one node; undefined when it noted a problem. */
export type Reader<T> = (node: Node, problems: Problems) => T | undefined;

/** Readers by key. */
export type Fields = Readonly<Record<string, Reader<unknown>>>;

/** What an object of fields is read into: keys that are there and right. */
export type Read<F extends Fields> = { readonly [K in keyof F]?: F[K] extends Reader<infer T> ? T : never };

/** Notes that something else was expected. */
export function wrong(node: Node, problems: Problems, expected: string): undefined {
  return problems.add(node.at, node.path, `expected ${expected}, not ${describe(node)}`);
}

/** Any text, numbers and truth values as they are written. */
export const text: Reader<string> = (node, problems) => {
  if (node.kind !== "text") return wrong(node, problems, "a text");
  if (node.text.includes("\0")) return wrong(node, problems, "a text without NUL");
  return node.text;
};

/** A text of some form. */
export function matching(pattern: RegExp, expected: string): Reader<string> {
  return (node, problems) =>
    node.kind === "text" && pattern.test(node.text) ? node.text : wrong(node, problems, expected);
}

/** `true` or `false`; what a variable was filled in for as well. */
export const flag: Reader<boolean> = (node, problems) => {
  if (node.kind === "text" && /^(?:true|false)$/i.test(node.text)) return node.text.toLowerCase() === "true";
  return wrong(node, problems, "true or false");
};

/** A whole number in a range, ends included. */
export function integer(from: number, to: number): Reader<number> {
  return (node, problems) => {
    const value =
      node.kind === "text" && /^[+-]?(?:\d+|0x[0-9a-fA-F]+|0o[0-7]+)$/.test(node.text) ? Number(node.text) : Number.NaN;
    return value >= from && value <= to ? value : wrong(node, problems, `a whole number from ${from} to ${to}`);
  };
}

/** A number in a range, ends included. */
export function decimal(from: number, to: number): Reader<number> {
  return (node, problems) => {
    const value = node.kind === "text" && /^\d+(?:\.\d+)?$/.test(node.text) ? Number(node.text) : Number.NaN;
    return value >= from && value <= to ? value : wrong(node, problems, `a number from ${from} to ${to}`);
  };
}

/** One of some words. */
export function oneOf<const W extends string>(...words: readonly W[]): Reader<W> {
  return (node, problems) => {
    const found = node.kind === "text" ? words.find((word) => word === node.text) : undefined;
    if (found !== undefined) return found;
    const near = node.kind === "text" ? nearest(node.text, words) : undefined;
    return wrong(node, problems, `${words.join(", ")}${near === undefined ? "" : ` (did you mean ${near}?)`}`);
  };
}

/** A list of what `item` reads; items that are wrong are noted and left out. */
export function list<T>(item: Reader<T>, most = 1000): Reader<T[]> {
  return (node, problems) => {
    if (node.kind !== "list") return wrong(node, problems, "a list");
    if (node.items.length > most) return problems.add(node.at, node.path, `more than ${most} items`);
    return node.items.flatMap((each) => {
      const value = item(each, problems);
      return value === undefined ? [] : [value];
    });
  };
}

/** A list of texts, or one text for a list of one. */
export const texts: Reader<string[]> = (node, problems) => {
  if (node.kind === "text") {
    const only = text(node, problems);
    return only === undefined ? undefined : [only];
  }
  return list(text)(node, problems);
};

/** A map of any keys. @param name what a key must be, and what is expected of it */
export function mapOf<T>(value: Reader<T>, name?: { pattern: RegExp; expected: string }): Reader<Map<string, T>> {
  return (node, problems) => {
    if (node.kind !== "map") return wrong(node, problems, "a map");
    const read = new Map<string, T>();
    for (const [key, entry] of node.entries) {
      if (name === undefined || name.pattern.test(key)) {
        const found = value(entry.value, problems);
        if (found !== undefined) read.set(key, found);
      } else if (!key.startsWith("x-")) {
        problems.add(entry.key.at, entry.key.path, `expected ${name.expected} as the name`);
      }
    }
    return read;
  };
}

/** `NAME=value` in a list, or a map. Null: there is a name and nothing else. */
export const keyValues: Reader<Map<string, string | null>> = (node, problems) => {
  const values = new Map<string, string | null>();
  const put = (at: Node, name: string, value: string | null): void => {
    if (name === "" || name.includes("\0")) problems.add(at.at, at.path, "expected NAME=value");
    else values.set(name, value);
  };
  if (node.kind === "list") {
    for (const item of node.items) {
      const pair = text(item, problems);
      if (pair === undefined) continue;
      const at = pair.indexOf("=");
      put(item, at < 0 ? pair : pair.slice(0, at), at < 0 ? null : pair.slice(at + 1));
    }
    return values;
  }
  if (node.kind !== "map") return wrong(node, problems, "a map, or a list of NAME=value");
  for (const [name, { value, key }] of node.entries) {
    const found = value.kind === "null" ? null : text(value, problems);
    if (found !== undefined) put(key, name, found);
  }
  return values;
};

/** One reader for texts and another for the rest: short and long forms. */
export function either<S, L>(short: Reader<S>, long: Reader<L>): Reader<S | L> {
  return (node, problems) => (node.kind === "text" ? short(node, problems) : long(node, problems));
}

/**
 * A map of known keys. `x-...` is passed over, a key that is null as if it were not there.
 * @param refused keys of Compose that berth has no equivalent of: why, and what to do
 * @param ignored keys of Compose that change nothing here: what is warned
 */
export function object<const F extends Fields>(
  fields: F,
  refused: Readonly<Record<string, string>> = {},
  ignored: Readonly<Record<string, string>> = {},
): Reader<Read<F>> {
  return (node, problems) => {
    if (node.kind === "null") return {};
    if (node.kind !== "map") return wrong(node, problems, "a map");
    return readFields(node, problems, fields, refused, ignored);
  };
}

function readFields<const F extends Fields>(
  node: MapNode,
  problems: Problems,
  fields: F,
  refused: Readonly<Record<string, string>>,
  ignored: Readonly<Record<string, string>>,
): Read<F> {
  const read: Record<string, unknown> = {};
  for (const [name, { key, value }] of node.entries) {
    const reader = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (reader !== undefined) {
      const found = value.kind === "null" ? undefined : reader(value, problems);
      if (found !== undefined) read[name] = found;
    } else if (Object.hasOwn(refused, name)) {
      problems.add(key.at, key.path, `not supported: ${refused[name]}`);
    } else if (Object.hasOwn(ignored, name)) {
      problems.warn(key.at, key.path, `has no effect: ${ignored[name]}`);
    } else if (!name.startsWith("x-")) {
      unknownKey(key, name, Object.keys(fields), problems);
    }
  }
  return read as Read<F>;
}

function unknownKey(key: TextNode, name: string, known: readonly string[], problems: Problems): void {
  const near = nearest(name, known);
  const hint = near === undefined ? `: known here are ${known.join(", ")}` : `: did you mean ${near}?`;
  problems.add(key.at, key.path, `unknown key${hint}`);
}
