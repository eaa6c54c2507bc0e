/** Blobs and ingests against their files. */

import { createReadStream } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { isDigest } from "../content/digest.ts";
import { Layout } from "../content/layout.ts";
import type { Finding } from "./finding.ts";
import type { CheckRecords } from "./records.ts";

/** Files that are looked at, or hashed, at the same time. */
const CONCURRENCY = 8;

/** @param verify read every blob and compare its digest, which takes as long as reading the disk */
export async function checkContent(records: CheckRecords, root: string, verify: boolean): Promise<Finding[]> {
  const layout = new Layout(root);
  const findings: Finding[] = [];
  const add = (severity: Finding["severity"], subject: string, problem: string, digest?: string): void => {
    const about = digest === undefined ? undefined : ({ kind: "blob", digest } as const);
    findings.push({ severity, area: "content", subject, problem, ...(about && { about }) });
  };
  const damaged = new Set(records.suspects.filter(({ state }) => state === 2).map(({ digest }) => digest));
  for (const digest of damaged)
    add("error", digest, "is known to be damaged, and answered as not found: fetch it again", digest);

  const sizes = new Map<string, { size: number; namespaces: string[] }>();
  for (const { namespace, digest, size } of records.blobs) {
    const known = sizes.get(digest);
    if (known === undefined) sizes.set(digest, { size, namespaces: [namespace] });
    else {
      known.namespaces.push(namespace);
      if (known.size !== size) add("error", digest, `has ${size} bytes in ${namespace} and ${known.size} in another`);
    }
  }
  await forEach([...sizes], async ([digest, { size, namespaces }]) => {
    if (damaged.has(digest)) return;
    const subject = `${namespaces.join(",")}/${digest}`;
    const problem = isDigest(digest) ? await problemOf(layout.blob(digest), digest, size, verify) : "is no digest";
    if (problem !== undefined) add("error", subject, problem, digest);
  });
  for (const name of await namesIn(layout.blobs)) {
    if (!sizes.has(`sha256:${name}`))
      add("note", `sha256:${name}`, "has a file and no record: garbage, removed in time");
  }

  const ingests = new Set(records.ingests.map(({ name }) => name));
  for (const { namespace, ref, name } of records.ingests) {
    if ((await lstat(layout.ingest(name)).catch(() => undefined)) === undefined) {
      add("note", `${namespace}/${ref}`, `the ingest has no directory ${name}: it begins again when it is written to`);
    }
  }
  for (const name of await namesIn(layout.ingests)) {
    if (!ingests.has(name)) add("note", `ingest/${name}`, "has no record: garbage, removed in time");
  }
  return findings;
}

async function problemOf(path: string, digest: string, size: number, verify: boolean): Promise<string | undefined> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => error);
  if (found instanceof Error) {
    return found.code === "ENOENT" ? `its file ${path} is missing: fetch it again` : found.message;
  }
  if (!found.isFile()) return `${path} is no file`;
  if (found.size !== size) return `its file has ${found.size} bytes instead of ${size}: fetch it again`;
  if (!verify) return undefined;
  try {
    const [algorithm = ""] = digest.split(":");
    const hasher = new Bun.CryptoHasher(algorithm as Bun.SupportedCryptoAlgorithms);
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hasher.update(chunk as Uint8Array);
    const real = `${algorithm}:${hasher.digest("hex")}`;
    return real === digest ? undefined : `its bytes are those of ${real}: fetch it again`;
  } catch (error) {
    return `cannot be read: ${(error as Error).message}`;
  }
}

/** Names in a directory; none when it is not there. */
export async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** Does something for each of many, some at the same time. */
export async function forEach<T>(items: readonly T[], body: (item: T) => Promise<void>): Promise<void> {
  const waiting = items.values();
  const work = async (): Promise<void> => {
    for (const item of waiting) await body(item);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
}
