/** Known deviations: a file that says which checks a shim is known to fail, and why. */

import { readFileSync } from "node:fs";
import { names } from "./check.ts";
import type { Result } from "./result.ts";

/** One deviation. */
export interface Deviation {
  /** An id or a glob. */
  readonly id: string;
  /** One sentence. */
  readonly reason: string;
  /** Where that can be seen: a file of the shim, an issue. */
  readonly source: string;
  /** True for one that does not come every time: then passing is fine too. */
  readonly sometimes?: boolean;
}

/** @throws Error in one sentence */
export function readExpected(path: string): Deviation[] {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new Error(`--expected ${path}: ${(error as Error).message}`);
  }
  return parseExpected(value, path);
}

/** @param value `{ "deviations": [{ "id", "reason", "source" }] }` */
export function parseExpected(value: unknown, path: string): Deviation[] {
  const list = (value as { deviations?: unknown } | null)?.deviations;
  if (!Array.isArray(list)) throw new Error(`--expected ${path}: there is no list "deviations"`);
  for (const [index, item] of list.entries()) {
    const { id, reason, source } = (item ?? {}) as Record<string, unknown>;
    if ([id, reason, source].some((text) => typeof text !== "string" || text === "")) {
      throw new Error(`--expected ${path}: deviation ${index + 1} needs "id", "reason" and "source"`);
    }
  }
  return list as Deviation[];
}

/** The result in the light of the list: a listed failure is not one, a listed check that passes is. */
export function judgeExpected(result: Result, deviations: readonly Deviation[]): Result {
  const deviation = deviations.find(({ id }) => names(id, result.id));
  if (deviation === undefined) return result;
  const reason = `${deviation.reason} (${deviation.source})`;
  if (result.outcome === "fail") return { ...result, outcome: "expected", reason };
  if (result.outcome === "pass" && !deviation.sometimes) return { ...result, outcome: "passed-unexpectedly", reason };
  return result;
}
