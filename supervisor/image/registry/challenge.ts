/** Challenges: how a registry wants to be told who asks (RFC 9110, section 11). */

/** One WWW-Authenticate challenge. */
export interface Challenge {
  /** In lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** Keys in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** Longest header that is looked at. */
const MAX_HEADER = 16 << 10;
const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const quoted = /"((?:[^"\\]|\\.)*)"/y;

/**
 * The challenges of a WWW-Authenticate header, which may hold several, separated by commas as their parameters are. What
 * cannot be understood ends the list.
 */
export function parseChallenges(header: string): Challenge[] {
  const text = header.slice(0, MAX_HEADER);
  const challenges: Challenge[] = [];
  let parameters = new Map<string, string>();
  let at = 0;
  const skip = (characters: string): void => {
    while (at < text.length && characters.includes(text[at] ?? "")) at++;
  };
  const match = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found) at = pattern.lastIndex;
    return found;
  };
  for (;;) {
    skip(" \t,");
    const word = match(token)?.[0];
    if (word === undefined) return challenges;
    skip(" \t");
    if (text[at] === "=" && challenges.length > 0) {
      at++;
      skip(" \t");
      const string = match(quoted);
      const value = string ? (string[1] ?? "").replace(/\\(.)/g, "$1") : match(token)?.[0];
      if (value === undefined) return challenges;
      if (!parameters.has(word.toLowerCase())) parameters.set(word.toLowerCase(), value);
    } else {
      parameters = new Map();
      challenges.push({ scheme: word.toLowerCase(), parameters });
    }
  }
}
