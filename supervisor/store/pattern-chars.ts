/** Sets of characters in regular expressions. */

/** True for characters of the set, by their code point. */
export type Chars = (code: number) => boolean;

/** The empty set. */
export const none: Chars = () => false;

export function range(low: number, high: number): Chars {
  return (code) => code >= low && code <= high;
}

export function anyOf(sets: readonly Chars[]): Chars {
  return (code) => sets.some((set) => set(code));
}

/** The set, with every character that is one of it in another case. */
export function ignoringCase(chars: Chars): Chars {
  return (code) => {
    if (chars(code)) return true;
    const char = String.fromCodePoint(code);
    return [char.toLowerCase(), char.toUpperCase()].some((other) => other !== char && chars(other.codePointAt(0) ?? 0));
  };
}

const not =
  (chars: Chars): Chars =>
  (code) =>
    !chars(code);

/** A set by an expression of JavaScript's for one character. */
function matching(source: string): Chars | undefined {
  try {
    const expression = new RegExp(`^${source}$`, "u");
    return (code) => expression.test(String.fromCodePoint(code));
  } catch {
    return undefined;
  }
}

const names: Readonly<Record<string, string>> = {
  alnum: "[0-9A-Za-z]",
  alpha: "[A-Za-z]",
  ascii: "[\\0-\\x7f]",
  blank: "[\\t ]",
  cntrl: "[\\0-\\x1f\\x7f]",
  digit: "[0-9]",
  graph: "[!-~]",
  lower: "[a-z]",
  print: "[ -~]",
  punct: "[!-\\/:-@\\[-`\\{-~]",
  space: "[\\t\\n\\v\\f\\r ]",
  upper: "[A-Z]",
  word: "[0-9A-Za-z_]",
  xdigit: "[0-9A-Fa-f]",
};

/** The set of `[:alpha:]` or `[:^alpha:]`; undefined for a name that there is not. */
export function classByName(text: string): Chars | undefined {
  const [, negation, name = ""] = /^\[:(\^?)(\w+):\]$/.exec(text) ?? [];
  const chars = Object.hasOwn(names, name) ? matching(names[name] ?? "") : undefined;
  return chars !== undefined && negation === "^" ? not(chars) : chars;
}

const perl: Readonly<Record<string, string>> = { d: "[0-9]", s: "[\\t\\n\\f\\r ]", w: "[0-9A-Za-z_]" };
const controls: Readonly<Record<string, number>> = { a: 7, f: 12, n: 10, r: 13, t: 9, v: 11 };

/**
 * What begins with the character after a backslash.
 * @returns how much of the text it is, and the character or the set; undefined for an escape that there is not
 */
export function classEscape(text: string): readonly [string, number | Chars] | undefined {
  const [char = ""] = text;
  const lower = char.toLowerCase();
  if (perl[lower] !== undefined) {
    const chars = matching(perl[lower]) ?? none;
    return [char, char === lower ? chars : not(chars)];
  }
  if (controls[char] !== undefined) return [char, controls[char]];
  const [octal] = /^(?:[1-7][0-7]{1,2}|0[0-7]{0,2})/.exec(text) ?? [];
  if (octal !== undefined) return [octal, Number.parseInt(octal, 8)];
  const [hex, two, braced] = /^x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})/.exec(text) ?? [];
  if (hex !== undefined) {
    const code = Number.parseInt(two ?? braced ?? "", 16);
    return code <= 0x10ffff ? [hex, code] : undefined;
  }
  if (lower === "p") return property(text, char === "P");
  // A mark means itself; a letter without a meaning is a mistake.
  return /^[^\w\s]/u.test(char) ? [char, char.codePointAt(0) ?? 0] : undefined;
}

/** `pL`, `p{Greek}`, `p{^Lu}`: characters of a category or a script. */
function property(text: string, isNegated: boolean): readonly [string, Chars] | undefined {
  const [all, one, caret, many] = /^[pP](?:([A-Z])|\{(\^?)(\w+)\})/.exec(text) ?? [];
  const name = one ?? many;
  if (all === undefined || name === undefined) return undefined;
  const chars = matching(`\\p{${name}}`) ?? matching(`\\p{Script=${name}}`);
  if (chars === undefined) return undefined;
  return [all, isNegated !== (caret === "^") ? not(chars) : chars];
}
