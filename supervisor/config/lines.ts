/** Where a key stands in a text of TOML: Bun's parser does not tell. */

/** A line number, from 1, for each key by its dotted path. */
export type Lines = ReadonlyMap<string, number>;

const part = String.raw`(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')`;
const dotted = String.raw`${part}(?:\s*\.\s*${part})*`;
const heading = new RegExp(String.raw`^\s*\[\[?\s*(${dotted})\s*\]`);
const assignment = new RegExp(String.raw`^\s*(${dotted})\s*=`);

/** Reads headings and assignments; keys of inline tables have the line of their table. */
export function linesOf(text: string): Lines {
  const lines = new Map<string, number>();
  let prefix: readonly string[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const inHeading = heading.exec(line)?.[1];
    const inAssignment = assignment.exec(line)?.[1];
    if (inHeading !== undefined) prefix = partsOf(inHeading);
    const found = inHeading !== undefined ? prefix : inAssignment && [...prefix, ...partsOf(inAssignment)];
    if (!found) continue;
    for (let length = 1; length <= found.length; length++) {
      const key = joinPath(found.slice(0, length));
      if (!lines.has(key)) lines.set(key, index + 1);
    }
  }
  return lines;
}

/** The line of a key, or of what it is in. */
export function lineOf(lines: Lines, path: readonly string[]): number | undefined {
  for (let length = path.length; length > 0; length--) {
    const line = lines.get(joinPath(path.slice(0, length)));
    if (line !== undefined) return line;
  }
  return undefined;
}

/** A path as TOML writes it: `runtimes."io.containerd.runc.v2".path`. */
export function joinPath(path: readonly string[]): string {
  return path.map((name) => (/^[A-Za-z0-9_-]+$/.test(name) ? name : JSON.stringify(name))).join(".");
}

/**
 * The line at which a text stops being TOML: the one after the longest beginning that is.
 * @param parses tells whether a text is TOML
 */
export function brokenLine(text: string, parses: (text: string) => boolean): number {
  const lines = text.split("\n");
  // A value of many lines is no TOML until its last one: the beginning is looked for from the end.
  for (let count = Math.min(lines.length - 1, 5000); count > 0; count--) {
    if (parses(lines.slice(0, count).join("\n"))) return count + 1;
  }
  return 1;
}

function partsOf(key: string): string[] {
  return [...key.matchAll(new RegExp(part, "g"))].map(([quoted]) =>
    quoted.startsWith('"') ? unquote(quoted) : quoted.replace(/^'(.*)'$/, "$1"),
  );
}

function unquote(quoted: string): string {
  try {
    return String(JSON.parse(quoted));
  } catch {
    return quoted.slice(1, -1);
  }
}
