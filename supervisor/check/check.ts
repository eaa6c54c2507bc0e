/** The full check: every record against what it stands for. */

import { join } from "node:path";
import { checkNetworks } from "../network/inspect.ts";
import { networkPaths } from "../network/paths.ts";
import { checkContent } from "./content.ts";
import { type Finding, lineOf } from "./finding.ts";
import { checkMetadata } from "./metadata.ts";
import type { CheckRecords } from "./records.ts";
import { checkSnapshots } from "./snapshots.ts";
import { checkTasks } from "./tasks.ts";

/** What is checked, and how. */
export interface CheckOptions {
  readonly root: string;
  readonly state: string;
  /** Compare the digest of every blob. */
  readonly verify: boolean;
}

/** Everything that is wrong with these records at this moment, in the same order each time. */
export async function checkAll(records: CheckRecords, { root, state, verify }: CheckOptions): Promise<Finding[]> {
  const found = await Promise.all([
    checkContent(records, join(root, "io.containerd.content.v1.content"), verify),
    checkMetadata(records),
    checkSnapshots(records, root),
    checkTasks(records, root, state),
    checkAttachments(root),
  ]);
  return found.flatMap((findings) => findings.sort(byRank));
}

/** What containers have of networks, and networks of containers. The plugins are not asked: `berth network check` does. */
async function checkAttachments(root: string): Promise<Finding[]> {
  const problems = await checkNetworks(networkPaths(root));
  return problems.map(({ subject, problem }): Finding => {
    return { severity: "error", area: "network", subject: subject.replace(/^network /, ""), problem };
  });
}

/** Errors before notes, then by name. */
function byRank(a: Finding, b: Finding): number {
  const [first, second] = [lineOf(a), lineOf(b)];
  return first < second ? -1 : Number(first > second);
}

/**
 * Checks what may change meanwhile: a second look, at new records, must find the same before it counts.
 * @param read the records of the moment
 * @param pauseMs between the looks
 */
export async function checkLive(
  read: () => Promise<CheckRecords>,
  options: CheckOptions,
  pauseMs: number,
): Promise<{ findings: Finding[]; records: CheckRecords }> {
  const records = await read();
  const first = await checkAll(records, options);
  if (first.every(({ severity }) => severity === "note")) return { findings: first, records };
  await Bun.sleep(pauseMs);
  const again = await read();
  const second = new Set((await checkAll(again, options)).map(keyOf));
  return { findings: first.filter((finding) => second.has(keyOf(finding))), records: again };
}

/** What tells one finding from every other. */
export function keyOf({ area, subject, problem }: Pick<Finding, "area" | "subject" | "problem">): string {
  return `${area} ${subject} ${problem}`;
}
