/**
 * Regular expressions as Go has them (RE2's language), for filters. A pattern comes from a client: matching takes time
 * in proportion to the text and the pattern, whatever they are, which JavaScript's own expressions do not promise.
 */

import { EDGE, parsePattern, type Step } from "./pattern-parser.ts";

/**
 * Whether a pattern is found somewhere in a text.
 * @returns undefined for a wrong pattern
 */
export function compilePattern(source: string): ((text: string) => boolean) | undefined {
  return plainSearch(source) ?? compileSteps(source);
}

/** The search for a plain text, such as `^/tasks/`, which is what most clients ask for; undefined for any other pattern. */
function plainSearch(source: string): ((text: string) => boolean) | undefined {
  const [all, start, plain = "", end] = /^(\^?)([\w/: -]*)(\$?)$/.exec(source) ?? [];
  if (all === undefined) return undefined;
  if (start === "") return end === "" ? (text) => text.includes(plain) : (text) => text.endsWith(plain);
  return end === "" ? (text) => text.startsWith(plain) : (text) => text === plain;
}

function compileSteps(source: string): ((text: string) => boolean) | undefined {
  const program = parsePattern(source);
  if (program === undefined) return undefined;
  const { steps, start } = program;
  return (text) => search(steps, start, text);
}

/** Follows all ways through the pattern at the same time, one character of the text after the other. */
function search(steps: readonly Step[], start: number, text: string): boolean {
  // At which position a step was reached last: it is looked at once for each.
  const reached = new Int32Array(steps.length).fill(-1);
  let current: number[] = [];
  let position = 0;

  /** Adds a step and all that follow it without a character. @returns true at the end of the pattern */
  const add = (list: number[], first: number, before: number, after: number): boolean => {
    const stack = [first];
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      const step = steps[at];
      if (step === undefined || reached[at] === position) continue;
      reached[at] = position;
      if (step.kind === "match") return true;
      if (step.kind === "char") list.push(at);
      else if (step.kind === "split") stack.push(...step.nexts);
      else if (step.holds(before, after)) stack.push(step.next);
    }
    return false;
  };

  const codes = Array.from(text, (char) => char.codePointAt(0) ?? 0);
  if (add(current, start, EDGE, codes[0] ?? EDGE)) return true;
  for (const [at, code] of codes.entries()) {
    const next: number[] = [];
    const after = codes[at + 1] ?? EDGE;
    position++;
    for (const index of current) {
      const step = steps[index];
      if (step?.kind === "char" && step.takes(code) && add(next, step.next, code, after)) return true;
    }
    // The pattern may begin anywhere.
    if (add(next, start, code, after)) return true;
    current = next;
  }
  return false;
}
