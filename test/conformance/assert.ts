/** Assertions. Each says what was expected, so that a failure reads without the source of the check. */

import { Violation } from "./check.ts";
import { codeNames, StatusError } from "./rig/wire.ts";

/** A value as a person reads it in a report: one line, no longer than a few hundred characters. */
export function show(value: unknown): string {
  if (typeof value === "string") return clip(JSON.stringify(value));
  if (value instanceof Uint8Array) return clip(value.length === 0 ? "no bytes" : `bytes ${value.toHex()}`);
  if (value instanceof Error) return clip(value.message);
  return clip(JSON.stringify(value, readable) ?? String(value));
}

/**
 * Bytes within a message as text, of which JSON makes a number for each, and sets, of which it makes {}. A Buffer has
 * made itself an object by now.
 */
function readable(_: string, value: unknown): unknown {
  if (value instanceof Set) return [...value];
  if (value instanceof Uint8Array) return value.toHex();
  const { type, data } = (value ?? {}) as { type?: unknown; data?: unknown };
  return type === "Buffer" && Array.isArray(data) ? Buffer.from(data).toString("hex") : value;
}

function clip(text: string): string {
  return text.length <= 600 ? text : `${text.slice(0, 600)}... (${text.length} characters)`;
}

/** @param what names the value: "the status of the task" */
export function equal<T>(what: string, actual: T, expected: T): void {
  if (Bun.deepEquals(actual, expected)) return;
  throw new Violation(`${what} to be ${show(expected)}`, show(actual));
}

/** @param expected what should hold, as the end of "expected ..." */
export function holds(expected: string, condition: boolean, received: unknown): asserts condition {
  if (!condition) throw new Violation(expected, show(received));
}

export function matches(what: string, text: string, pattern: RegExp): void {
  if (!pattern.test(text)) throw new Violation(`${what} to match ${pattern}`, show(text));
}

/** A code with its name: `NotFound (5)`. */
export function codeText(code: number): string {
  return `${codeNames[code] ?? "a code without a name"} (${code})`;
}

/** Asserts that a call is answered with one of the codes. @returns the message of the status */
export async function refused(what: string, call: Promise<unknown>, ...codes: number[]): Promise<string> {
  const expected = `${what} to be refused with ${codes.map(codeText).join(" or ")}`;
  let answer: unknown;
  try {
    answer = await call;
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    holds(expected, codes.includes(error.code), `${codeText(error.code)}: ${error.message}`);
    return error.message;
  }
  throw new Violation(expected, `an answer: ${show(answer)}`);
}

/** Asserts that a call that is under way has no answer yet after some milliseconds. */
export async function stillWaits(what: string, call: Promise<unknown>, ms: number): Promise<void> {
  const ended = call.then(
    (value) => show(value),
    (error: Error) => error.message,
  );
  const first = await Promise.race([ended, Bun.sleep(ms)]);
  if (first !== undefined) throw new Violation(`${what} to have no answer yet`, first);
}

/** Codes that answers are judged by (TT-8). A wrong state has no type in containerd's own shim, hence Unknown too. */
export const codes = { notFound: [5], wrongState: [2, 9], duplicate: [6], unimplemented: [12], invalid: [3] } as const;
