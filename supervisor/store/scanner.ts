/**
 * Takes a filter apart into tokens (pkg/filters/scanner.go). Positions are those of bytes, as containerd's messages count
 * them: the text is held as one character a byte.
 */

/** What {@link Scanner.peek} gives in the place of a character. */
export const tokens = { end: "end", illegal: "illegal" } as const;

/** A token: what it is, where it starts, and what stands there. */
export interface Token {
  readonly at: number;
  readonly kind: "field" | "value" | "quoted" | "operator" | "separator" | "illegal" | "end" | "other";
  readonly text: string;
}

const quotes = new Set(["/", "|", '"']);
const separators = new Set([",", "."]);
const operators = new Set(["=", "!", "~"]);
const fieldChar = /\w/;
const space = /[\t\n\v\f\r ]/;
/** What may stand in a value: everything but a comma, spaces and controls. */
const valueChar = /[^,\s\p{Cc}]/u;

/** The tokens of one filter. */
export class Scanner {
  readonly #text: string;
  readonly #onFail: (problem: string) => never;
  #at = 0;
  /** An operator came: what follows is a value. */
  #expectsValue = false;
  /** The first thing that was wrong with the text itself. */
  problem = "";

  /** @param onFail told what is wrong and where; must throw */
  constructor(text: string, onFail: (problem: string) => never) {
    this.#text = Buffer.from(text, "utf8").toString("latin1");
    this.#onFail = onFail;
  }

  /** Throws, with a mark at a position. */
  fail(at: number, what: string): never {
    const text = this.#text;
    const marked = at < text.length ? `${text.slice(0, at)} >|${text[at]}|< ${text.slice(at + 1)}` : text;
    return this.#onFail(`[${decode(marked)}]: ${what}`);
  }

  /** {@link fail} at the next character. */
  failNext(what: string): never {
    return this.fail(this.#at, what);
  }

  /** The next character, which stays; `illegal` for one that no filter may have. */
  peek(): string {
    const char = this.#text[this.#at];
    if (char === undefined) return tokens.end;
    if (char !== "\0") return char;
    this.problem ||= "unexpected null";
    return tokens.illegal;
  }

  /** The next token. */
  scan(): Token {
    while (space.test(this.#text[this.#at] ?? "")) this.#at++;
    const at = this.#at;
    const char = this.peek();
    if (char === tokens.end || char === tokens.illegal) return { at, kind: char, text: "" };
    this.#at++;
    if (quotes.has(char)) return this.#token(at, this.#quoted(char) ? "quoted" : "illegal");
    if (separators.has(char)) {
      this.#expectsValue = false;
      return this.#token(at, "separator");
    }
    if (operators.has(char)) {
      while (operators.has(this.peek())) this.#at++;
      this.#expectsValue = true;
      return this.#token(at, "operator");
    }
    if (this.#expectsValue) {
      this.#skip(valueChar);
      this.#expectsValue = false;
      return this.#token(at, "value");
    }
    if (!fieldChar.test(char)) return { at, kind: "other", text: "" };
    this.#skip(fieldChar);
    return this.#token(at, "field");
  }

  #token(at: number, kind: Token["kind"]): Token {
    const text = this.#text.slice(at, this.#at);
    return { at, kind, text: kind === "quoted" ? text : decode(text) };
  }

  #skip(chars: RegExp): void {
    while (this.#at < this.#text.length && chars.test(this.#text[this.#at] ?? "")) this.#at++;
  }

  /** Goes behind the closing quote. @returns false for what is not closed, or has an escape that there is not */
  #quoted(quote: string): boolean {
    let isLegal = true;
    for (;;) {
      const char = this.peek();
      if (char === "\n" || char === tokens.end || char === tokens.illegal) {
        this.problem ||= "quoted literal not terminated";
        return false;
      }
      this.#at++;
      if (char === quote) return isLegal;
      if (char === "\\" && !this.#escape(quote)) isLegal = false;
    }
  }

  #escape(quote: string): boolean {
    const char = this.peek();
    if (char === quote || "abfnrtv\\".includes(char)) {
      this.#at++;
      return true;
    }
    if (/^[0-7]$/.test(char)) return this.#digits(/[0-7]/, 3);
    const count = { x: 2, u: 4, U: 8 }[char];
    if (count === undefined) {
      this.problem ||= "illegal escape sequence";
      return false;
    }
    this.#at++;
    return this.#digits(/[0-9A-Fa-f]/, count);
  }

  #digits(digit: RegExp, count: number): boolean {
    for (let n = 0; n < count; n++, this.#at++) {
      if (digit.test(this.#text[this.#at] ?? "")) continue;
      this.problem ||= "illegal numeric escape sequence";
      return false;
    }
    return true;
  }
}

const escapes: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

/** What stands between the quotes of a token; undefined for a number that no character has. */
export function unquote(token: string): string | undefined {
  let isRight = true;
  const text = token
    .slice(1, -1)
    .replace(
      /\\(?:([0-7]{3})|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([\s\S]))/g,
      (_, octal, hex, u, U, char) => {
        if (char !== undefined) return escapes[char] ?? char;
        if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
        const code = octal === undefined ? Number.parseInt(u ?? U, 16) : Number.parseInt(octal, 8);
        if (octal !== undefined && code <= 255) return String.fromCharCode(code);
        if (octal !== undefined || code > 0x10ffff) isRight = false;
        return isRight ? Buffer.from(String.fromCodePoint(code), "utf8").toString("latin1") : "";
      },
    );
  return isRight ? decode(text) : undefined;
}

function decode(bytes: string): string {
  return Buffer.from(bytes, "latin1").toString("utf8");
}
