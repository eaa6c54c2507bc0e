/** Records against each other. */

import type { Finding } from "./finding.ts";
import type { CheckRecords } from "./records.ts";

/** Images against blobs, containers against snapshots, snapshots against their parents. */
export function checkMetadata(records: CheckRecords): Finding[] {
  const findings: Finding[] = [];
  const blobs = new Set(records.blobs.map(({ namespace, digest }) => `${namespace} ${digest}`));
  for (const { namespace, name, digest } of records.images) {
    if (blobs.has(`${namespace} ${digest}`)) continue;
    const problem = `its blob ${digest} is not there: pull it again, or remove it`;
    const about = { kind: "image", namespace, name } as const;
    findings.push({ severity: "error", area: "image", subject: `${namespace}/${name}`, problem, about });
  }
  const snapshots = new Map(records.snapshots.map((row) => [`${row.snapshotter} ${row.namespace} ${row.key}`, row]));
  for (const { namespace, id, snapshotter, snapshot_key: key } of records.containers) {
    if (key === "" || snapshots.has(`${snapshotter} ${namespace} ${key}`)) continue;
    const problem = `its snapshot ${key} of ${snapshotter} is not there: a client has removed it, or never made it`;
    findings.push({ severity: "note", area: "container", subject: `${namespace}/${id}`, problem });
  }
  for (const { snapshotter, namespace, key, parent } of records.snapshots) {
    if (parent === "") continue;
    const found = snapshots.get(`${snapshotter} ${namespace} ${parent}`);
    const subject = `${snapshotter}/${namespace}/${key}`;
    const problem =
      found === undefined ? "is not there" : found.kind === 3 ? undefined : "is not committed, and may change under it";
    if (problem === undefined) continue;
    const about = { kind: "snapshot", snapshotter, namespace, key } as const;
    findings.push({ severity: "error", area: "snapshot", subject, problem: `its parent ${parent} ${problem}`, about });
  }
  return findings;
}
