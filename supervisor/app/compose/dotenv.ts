/**
 * Files of variables, as Compose reads `.env` and `env_file`: `NAME=value`, `export NAME=value`, comments, single quotes
 * (as they are), double quotes (with \n, \t, \" and variables), both over several lines. Pure.
 */

import { InterpolationError, interpolate, type Lookup } from "./interpolate.ts";

/** One thing wrong in such a file. */
export interface DotenvProblem {
  readonly line: number;
  readonly message: string;
}

/** What a file says. */
export interface Dotenv {
  /** Null: only the name is there; the value comes from the environment. */
  readonly values: ReadonlyMap<string, string | null>;
  readonly problems: readonly DotenvProblem[];
}

const head = /^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(?:[=:]|$)/;
const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", '"': '"', "\\": "\\", $: "$$" };

/**
 * Reads a file of variables.
 * @param lookup the environment, which variables in values are looked up in after the file itself
 * @param isRaw true where quotes and variables mean nothing: `format: raw`
 */
export function parseDotenv(text: string, lookup: Lookup = () => undefined, isRaw = false): Dotenv {
  const values = new Map<string, string | null>();
  const problems: DotenvProblem[] = [];
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/);
  const find: Lookup = (name) => lookup(name) ?? values.get(name) ?? undefined;
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] ?? "";
    const number = index + 1;
    if (/^\s*(?:#|$)/.test(line)) continue;
    const [start, name] = head.exec(line) ?? [];
    if (start === undefined || name === undefined) {
      problems.push({ line: number, message: `expected NAME=value, not ${JSON.stringify(line.trim().slice(0, 60))}` });
      continue;
    }
    if (!/[=:]$/.test(start)) {
      values.set(name, null);
      continue;
    }
    let rest = line.slice(start.length);
    if (isRaw) {
      values.set(name, rest);
      continue;
    }
    rest = rest.trimStart();
    const quote = rest[0];
    try {
      if (quote === "'" || quote === '"') {
        let end = closing(rest, quote);
        while (end < 0 && index + 1 < lines.length) {
          rest += `\n${lines[++index] ?? ""}`;
          end = closing(rest, quote);
        }
        if (end < 0) {
          problems.push({ line: number, message: `the value of ${name} has no closing ${quote}` });
          continue;
        }
        const inside = rest.slice(1, end);
        values.set(name, quote === "'" ? inside : interpolate(unescaped(inside), find));
      } else {
        values.set(name, interpolate(rest.replace(/(?:^|\s)#.*$/, "").trimEnd(), find));
      }
    } catch (error) {
      if (!(error instanceof InterpolationError)) throw error;
      problems.push({ line: number, message: `the value of ${name}: ${error.message}` });
    }
  }
  return { values, problems };
}

function closing(text: string, quote: string): number {
  for (let at = 1; at < text.length; at++) {
    if (text[at] === "\\" && quote === '"') at++;
    else if (text[at] === quote) return at;
  }
  return -1;
}

function unescaped(text: string): string {
  return text.replace(/\\(.)/g, (whole, letter: string) => escapes[letter] ?? whole);
}
