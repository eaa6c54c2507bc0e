/** Reads a regular expression of RE2's language into steps. */

import { anyOf, type Chars, classByName, classEscape, ignoringCase, none, range } from "./pattern-chars.ts";

/** One step of a pattern. Numbers are indexes of steps. */
export type Step =
  | { readonly kind: "char"; readonly takes: (code: number) => boolean; readonly next: number }
  | { readonly kind: "split"; readonly nexts: readonly [number, number] }
  | { readonly kind: "assert"; readonly holds: (before: number, after: number) => boolean; readonly next: number }
  | { readonly kind: "match" };

/** Stands for what is before the first and after the last character. */
export const EDGE = -1;

/** Steps of a pattern, at most: a client may write one that repeats repetitions. */
const MAX_STEPS = 4000;
/** How deep groups may be nested. */
const MAX_DEPTH = 200;
/** How often a part may be repeated by numbers (RE2's limit). */
const MAX_REPEAT = 1000;

interface Flags {
  readonly i: boolean;
  readonly m: boolean;
  readonly s: boolean;
}

/** Makes the steps of a part that ends in `next`, last step first. @returns where the part begins */
type Part = (next: number) => number;

class PatternError extends Error {}

/** The steps of a pattern, and where it begins; undefined for a wrong one. */
export function parsePattern(source: string): { steps: readonly Step[]; start: number } | undefined {
  try {
    const parser = new Parser(source);
    const part = parser.all();
    return { start: part(parser.put({ kind: "match" })), steps: parser.steps };
  } catch (error) {
    if (error instanceof PatternError) return undefined;
    throw error;
  }
}

const isWord = (code: number): boolean => code !== EDGE && /\w/.test(String.fromCodePoint(code));
const NEWLINE = 10;

class Parser {
  readonly steps: Step[] = [];
  readonly #chars: readonly string[];
  #at = 0;
  #depth = 0;
  #flags: Flags = { i: false, m: false, s: false };

  constructor(source: string) {
    this.#chars = Array.from(source);
  }

  /** Adds a step. @returns its index */
  put(step: Step): number {
    if (this.steps.length >= MAX_STEPS) throw new PatternError("too large");
    return this.steps.push(step) - 1;
  }

  all(): Part {
    const part = this.#alternatives();
    if (this.#at < this.#chars.length) throw new PatternError("unexpected )");
    return part;
  }

  #take(text: string): boolean {
    const chars = Array.from(text);
    if (!chars.every((char, offset) => this.#chars[this.#at + offset] === char)) return false;
    this.#at += chars.length;
    return true;
  }

  #next(): string {
    const char = this.#chars[this.#at++];
    if (char === undefined) throw new PatternError("it ends too early");
    return char;
  }

  #alternatives(): Part {
    if (++this.#depth > MAX_DEPTH) throw new PatternError("nested too deeply");
    const outer = this.#flags;
    const parts = [this.#sequence()];
    while (this.#take("|")) parts.push(this.#sequence());
    this.#flags = outer;
    this.#depth--;
    return parts.reduceRight((rest, part) => (next) => {
      const second = rest(next);
      return this.put({ kind: "split", nexts: [part(next), second] });
    });
  }

  #sequence(): Part {
    const parts: Part[] = [];
    while (this.#at < this.#chars.length && !["|", ")"].includes(this.#chars[this.#at] ?? "")) {
      parts.push(this.#repeated(this.#atom()));
    }
    return (next) => parts.reduceRight((at, part) => part(at), next);
  }

  #repeated(part: Part): Part {
    const counts = this.#counts();
    if (counts === undefined) return part;
    this.#take("?");
    if (this.#counts() !== undefined) throw new PatternError("nested repetition");
    const [min, max] = counts;
    return (next) => {
      let at = max === undefined ? this.#loop(part, next) : next;
      for (let n = min; n < (max ?? min); n++) at = this.put({ kind: "split", nexts: [part(at), next] });
      for (let n = 0; n < min; n++) at = part(at);
      return at;
    };
  }

  #loop(part: Part, next: number): number {
    const nexts: [number, number] = [next, next];
    const at = this.put({ kind: "split", nexts });
    nexts[0] = part(at);
    return at;
  }

  /** How often what stands before is there; undefined when nothing is said of it. */
  #counts(): readonly [number, number | undefined] | undefined {
    if (this.#take("*")) return [0, undefined];
    if (this.#take("+")) return [1, undefined];
    if (this.#take("?")) return [0, 1];
    const [all, min = "", comma, max = ""] =
      /^\{(\d{1,9})(,(\d{0,9}))?\}/.exec(this.#chars.slice(this.#at, this.#at + 24).join("")) ?? [];
    if (all === undefined) return undefined;
    this.#at += all.length;
    const least = Number(min);
    const most = comma === undefined ? least : max === "" ? undefined : Number(max);
    if (least > MAX_REPEAT || (most ?? least) > MAX_REPEAT || (most ?? least) < least) {
      throw new PatternError("bad repetition");
    }
    return [least, most];
  }

  #atom(): Part {
    if (this.#take("(")) return this.#group();
    if (this.#take("[")) return this.#char(this.#class());
    const char = this.#next();
    const { m, s } = this.#flags;
    switch (char) {
      case ".":
        return this.#char((code) => s || code !== NEWLINE);
      case "^":
        return this.#assert((before) => before === EDGE || (m && before === NEWLINE));
      case "$":
        return this.#assert((_, after) => after === EDGE || (m && after === NEWLINE));
      case "*":
      case "+":
      case "?":
        throw new PatternError("nothing to repeat");
      case "\\":
        return this.#escaped();
      default:
        return this.#literal(char);
    }
  }

  #literal(char: string): Part {
    const code = char.codePointAt(0) ?? 0;
    return this.#char(range(code, code));
  }

  #char(chars: Chars): Part {
    const takes = this.#flags.i ? ignoringCase(chars) : chars;
    return (next) => this.put({ kind: "char", takes, next });
  }

  #assert(holds: (before: number, after: number) => boolean): Part {
    return (next) => this.put({ kind: "assert", holds, next });
  }

  #group(): Part {
    let inner: Flags | undefined;
    if (this.#take("?")) {
      const head = /^(?:P?<\w+>|([ims]*)(?:-([ims]+))?([:)]))/.exec(this.#chars.slice(this.#at).join(""));
      if (head === null) throw new PatternError("unknown group");
      const [all, on, off = "", end] = head;
      this.#at += Array.from(all).length;
      if (on !== undefined) inner = this.#changed(on, off);
      if (end === ")") {
        this.#flags = inner ?? this.#flags;
        return (next) => next;
      }
    }
    const outer = this.#flags;
    this.#flags = inner ?? outer;
    const part = this.#alternatives();
    this.#flags = outer;
    if (!this.#take(")")) throw new PatternError("missing )");
    return part;
  }

  #changed(on: string, off: string): Flags {
    const set = (name: keyof Flags): boolean => !off.includes(name) && (on.includes(name) || this.#flags[name]);
    return { i: set("i"), m: set("m"), s: set("s") };
  }

  #escaped(): Part {
    if (this.#take("A")) return this.#assert((before) => before === EDGE);
    if (this.#take("z")) return this.#assert((_, after) => after === EDGE);
    if (this.#take("b")) return this.#assert((before, after) => isWord(before) !== isWord(after));
    if (this.#take("B")) return this.#assert((before, after) => isWord(before) === isWord(after));
    if (this.#take("Q")) return this.#quoted();
    const found = this.#escape();
    return this.#char(typeof found === "number" ? range(found, found) : found);
  }

  /** Everything up to \E as it is. */
  #quoted(): Part {
    const parts: Part[] = [];
    while (this.#at < this.#chars.length && !this.#take("\\E")) parts.push(this.#literal(this.#next()));
    return (next) => parts.reduceRight((at, part) => part(at), next);
  }

  /** What follows a backslash: one character, or a class of them. */
  #escape(): number | Chars {
    const [all, found] = classEscape(this.#chars.slice(this.#at, this.#at + 64).join("")) ?? [];
    if (all === undefined || found === undefined) throw new PatternError("unknown escape");
    this.#at += Array.from(all).length;
    return found;
  }

  #class(): Chars {
    const isNegated = this.#take("^");
    const parts: Chars[] = [];
    for (let isFirst = true; isFirst || !this.#take("]"); isFirst = false) {
      const [name] = /^\[:\^?\w+:\]/.exec(this.#chars.slice(this.#at, this.#at + 16).join("")) ?? [];
      if (name !== undefined) {
        this.#at += name.length;
        parts.push(classByName(name) ?? none);
        if (classByName(name) === undefined) throw new PatternError("unknown class");
        continue;
      }
      const low = this.#classChar();
      if (typeof low !== "number") parts.push(low);
      else parts.push(this.#rangeFrom(low));
    }
    const any = anyOf(parts);
    return isNegated ? (code) => !(this.#flags.i ? ignoringCase(any) : any)(code) : any;
  }

  #rangeFrom(low: number): Chars {
    const isRange = this.#chars[this.#at] === "-" && this.#chars[this.#at + 1] !== "]";
    if (!isRange) return range(low, low);
    this.#at++;
    const high = this.#classChar();
    if (typeof high !== "number" || high < low) throw new PatternError("bad range");
    return range(low, high);
  }

  #classChar(): number | Chars {
    const char = this.#next();
    return char === "\\" ? this.#escape() : (char.codePointAt(0) ?? 0);
  }
}
