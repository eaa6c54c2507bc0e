/**
 * Reads a YAML text into nodes: one document, anchors and merge keys resolved, variables filled in. Whoever wrote it may
 * mean ill: its size, its depth and what its aliases grow to have limits, and a key that is there twice is refused.
 */

import { isAlias, isMap, isScalar, isSeq, LineCounter, parseAllDocuments, Scalar, type YAMLMap } from "yaml";
import { InterpolationError, interpolate, type Lookup } from "./interpolate.ts";
import { type Entry, type MapNode, type Node, type Place, pathOf, type TextNode } from "./node.ts";
import type { Problems } from "./problem.ts";

/** Longest file in bytes. */
export const MAX_FILE = 256 << 10;
/** Nodes of a file, those of aliases counted wherever they are used. */
const MAX_NODES = 20_000;
const MAX_DEPTH = 40;
/** Brackets that are open at once, for the parser, which calls itself for each. */
const MAX_BRACKETS = 1000;

/** @returns undefined when there is no tree at all: then problems tell why */
export function readTree(text: string, lookup: Lookup, problems: Problems): Node | undefined {
  const start: Place = { line: 1, column: 1 };
  if (Buffer.byteLength(text) > MAX_FILE) {
    return problems.add(start, "", `the file is longer than ${MAX_FILE >> 10} KiB`);
  }
  const deep = depthProblem(text);
  if (deep !== undefined) return problems.add(deep, "", `nested more than ${MAX_DEPTH} deep`);
  const lines = new LineCounter();
  // Keys that are there twice are looked for below: the parser compares each with each.
  const options = { lineCounter: lines, version: "1.2", uniqueKeys: false, prettyErrors: false } as const;
  let documents: ReturnType<typeof parseAllDocuments>;
  try {
    documents = parseAllDocuments(text, options);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return problems.add(start, "", "nested too deep");
  }
  const [document, second] = Array.isArray(documents) ? documents : [];
  if (document === undefined) return problems.add(start, "", "the file is empty");
  for (const error of document.errors) problems.add(placeOf(lines, error.pos[0]), "", `not YAML: ${error.message}`);
  if (second !== undefined) {
    problems.add(placeOf(lines, second.range?.[0]), "", "a second document: one file is one application");
  }
  if (!problems.isEmpty) return undefined;
  return new Reader(lines, lookup, problems).read(document.contents);
}

/** What is too deep for a recursive parser is found before it runs: flow collections, and indentation. */
function depthProblem(text: string): Place | undefined {
  let depth = 0;
  for (const [index, line] of text.split("\n").entries()) {
    const bare = line.replace(/"(?:[^"\\]|\\.)*"|'[^']*'|#.*$/g, "");
    for (const letter of bare) {
      if (letter === "[" || letter === "{") depth++;
      else if ((letter === "]" || letter === "}") && depth > 0) depth--;
      // Text of a block may have brackets without an end.
      if (depth > MAX_BRACKETS) return { line: index + 1, column: 1 };
    }
    const dashes = /^[ ]*((?:[-?:][ ]+)*)/.exec(line)?.[1]?.replaceAll(" ", "").length ?? 0;
    if (dashes > MAX_DEPTH) return { line: index + 1, column: 1 };
  }
  return undefined;
}

function placeOf(lines: LineCounter, offset: number | undefined): Place {
  const { line, col } = lines.linePos(offset ?? 0);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

/** Thrown when a tree grows too large; caught in {@link Reader.read}. */
class TooMuch extends Error {}

class Reader {
  readonly #lines: LineCounter;
  readonly #lookup: Lookup;
  readonly #problems: Problems;
  readonly #missing = new Set<string>();
  /** The last anchor of each name so far. */
  readonly #anchors = new Map<string, unknown>();
  #count = 0;
  #aliases = 0;

  constructor(lines: LineCounter, lookup: Lookup, problems: Problems) {
    this.#lines = lines;
    this.#lookup = lookup;
    this.#problems = problems;
  }

  read(contents: unknown): Node | undefined {
    try {
      return this.#node(contents, "", 0, { line: 1, column: 1 });
    } catch (error) {
      if (error instanceof TooMuch) return undefined;
      throw error;
    }
  }

  #node(found: unknown, path: string, depth: number, above: Place): Node {
    const at = this.#at(found, above);
    if (++this.#count > MAX_NODES) {
      this.#problems.add(at, "", `more than ${MAX_NODES} values, counting what its aliases stand for`);
      throw new TooMuch();
    }
    if (depth > MAX_DEPTH) {
      this.#problems.add(at, path, `nested more than ${MAX_DEPTH} deep`);
      throw new TooMuch();
    }
    if (isAlias(found)) return this.#alias(found.source, at, path, depth);
    const anchor = (found as { anchor?: string } | null)?.anchor;
    if (anchor !== undefined && this.#aliases === 0) this.#anchors.set(anchor, found);
    if (isScalar(found)) return this.#scalar(found, at, path);
    if (isSeq(found)) {
      const items = found.items.map((item, index) => this.#node(item, `${path}[${index}]`, depth + 1, at));
      return { kind: "list", at, path, items };
    }
    if (isMap(found)) return this.#map(found, at, path, depth);
    return { kind: "null", at, path };
  }

  #alias(name: string, at: Place, path: string, depth: number): Node {
    if (!this.#anchors.has(name)) {
      this.#problems.add(at, path, `no anchor &${name} before this alias`);
      return { kind: "null", at, path };
    }
    this.#aliases++;
    try {
      return this.#node(this.#anchors.get(name), path, depth + 1, at);
    } finally {
      this.#aliases--;
    }
  }

  #map(found: YAMLMap, at: Place, path: string, depth: number): MapNode {
    const own = new Map<string, Entry>();
    const merged = new Map<string, Entry>();
    for (const pair of found.items) {
      const keyAt = this.#at(pair.key, at);
      if (!isScalar(pair.key) || pair.key.value === null || pair.key.value === undefined) {
        this.#problems.add(keyAt, path, "a key must be a text");
        continue;
      }
      const name = textOf(pair.key);
      const below = pathOf(path, name);
      if (name === "<<" && pair.key.type === Scalar.PLAIN) {
        this.#merge(this.#node(pair.value, path, depth + 1, keyAt), merged);
        continue;
      }
      const first = own.get(name);
      if (first !== undefined) {
        this.#problems.add(keyAt, below, `this key is there twice, first at line ${first.key.at.line}`);
        continue;
      }
      const key: TextNode = { kind: "text", text: name, isPlain: true, at: keyAt, path: below };
      own.set(name, { key, value: this.#node(pair.value, below, depth + 1, keyAt) });
    }
    // What is written here wins over what is merged in.
    for (const [name, entry] of merged) if (!own.has(name)) own.set(name, entry);
    return { kind: "map", at, path, entries: own };
  }

  #merge(node: Node, into: Map<string, Entry>): void {
    const sources = node.kind === "list" ? node.items : [node];
    for (const source of sources) {
      if (source.kind !== "map") {
        this.#problems.add(source.at, source.path, "<< takes a map, or a list of maps");
        continue;
      }
      for (const [name, entry] of source.entries) if (!into.has(name)) into.set(name, entry);
    }
  }

  #scalar(found: Scalar, at: Place, path: string): Node {
    const isPlain = found.type === Scalar.PLAIN || found.type === undefined;
    if (isPlain && found.value === null) return { kind: "null", at, path };
    const written = textOf(found);
    try {
      const text = interpolate(written, this.#lookup, (name) => this.#warn(name, at, path));
      return { kind: "text", text, isPlain, at, path };
    } catch (error) {
      if (!(error instanceof InterpolationError)) throw error;
      this.#problems.broken(at, path, error.message);
      return { kind: "text", text: "", isPlain, at, path };
    }
  }

  #warn(name: string, at: Place, path: string): void {
    if (this.#missing.has(name)) return;
    this.#missing.add(name);
    this.#problems.warn(at, path, `the variable ${name} is not set: it is empty`);
  }

  #at(found: unknown, above: Place): Place {
    const range = (found as { range?: readonly number[] | null } | null | undefined)?.range;
    return range ? placeOf(this.#lines, range[0]) : above;
  }
}

/** A scalar as it is written; `0755` and `1.0` stay what they are. */
function textOf(scalar: Scalar): string {
  if (scalar.type === Scalar.PLAIN && scalar.source !== undefined) return scalar.source;
  return String(scalar.value ?? "");
}
