/** Attachments that failed since the machine was booted: hooks note them, the daemon tells Prometheus and the status page. */

import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { withLock } from "./lock.ts";
import type { NetworkPaths } from "./paths.ts";

/** So many of the last are kept. */
const KEPT = 20;

/** A container that could not be attached. */
export interface NetworkFailure {
  readonly namespace: string;
  readonly id: string;
  readonly message: string;
  /** RFC 3339. */
  readonly at: string;
}

/** What there was of them. */
export interface Failures {
  readonly count: number;
  /** The latest is the last. */
  readonly last: readonly NetworkFailure[];
}

/** Notes a failure. */
export async function noteFailure(paths: NetworkPaths, failure: Omit<NetworkFailure, "at">): Promise<void> {
  await withLock(paths.run, () => {
    const { count, last } = readFailures(paths);
    const at = new Date().toISOString();
    const path = failuresPath(paths);
    writeFileSync(
      `${path}.tmp`,
      JSON.stringify({ count: count + 1, last: [...last, { ...failure, at }].slice(-KEPT) }),
    );
    renameSync(`${path}.tmp`, path);
  });
}

/** Failures since the boot. */
export function readFailures(paths: Pick<NetworkPaths, "run">): Failures {
  try {
    return JSON.parse(readFileSync(failuresPath(paths), "utf8")) as Failures;
  } catch {
    return { count: 0, last: [] };
  }
}

function failuresPath({ run }: Pick<NetworkPaths, "run">): string {
  return join(run, "failures.json");
}
