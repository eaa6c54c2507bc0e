/** Blobs of the daemon, as a client reads and writes them. */

import { ContainerdError, failedPrecondition } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Api, CallOptions } from "./api.ts";

const CONTENT = "containerd.services.content.v1.Content";
const LEASES = "containerd.services.leases.v1.Leases";
/** Most of a manifest or configuration: they are held in memory. */
const MAX_DOCUMENT = 8 << 20;
/** Numbers of actions of Content.Write. */
const Action = { WRITE: 1, COMMIT: 2 } as const;
/** A lease that was forgotten ends after this many milliseconds. */
const LEASE_MS = 24 * 3_600_000;

/** Reads a whole blob that is a document. @throws CallError NotFound; ContainerdError for one that is too large */
export async function readDocument(api: Api, namespace: string, digest: string): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  // One byte more than allowed shows that it is too large.
  for await (const { data } of api.stream(CONTENT, "Read", { digest, offset: 0, size: 0 }, { namespace })) {
    size += data.length;
    if (size > MAX_DOCUMENT)
      throw failedPrecondition(`${digest} has more than ${MAX_DOCUMENT} bytes: it is no manifest`);
    parts.push(data);
  }
  return Buffer.concat(parts);
}

/** Writes a document as a blob; one that is there already is fine, and gets the labels. @returns its digest */
export async function writeDocument(
  api: Api,
  bytes: Uint8Array,
  labels: Readonly<Record<string, string>>,
  options: CallOptions,
): Promise<string> {
  const digest = `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
  const request = { ref: `berth-${digest}`, total: bytes.length, expected: digest };
  async function* requests() {
    yield { ...request, action: Action.COMMIT, offset: 0, data: bytes, labels: { ...labels } };
  }
  try {
    for await (const _ of api.duplex(CONTENT, "Write", requests(), options));
  } catch (error) {
    if (!(error instanceof ContainerdError) || error.code !== Code.AlreadyExists) throw error;
    const paths = Object.keys(labels).map((key) => `labels.${key}`);
    if (paths.length > 0) {
      await api.call(CONTENT, "Update", { info: { digest, labels: { ...labels } }, updateMask: { paths } }, options);
    }
  }
  return digest;
}

/** Runs `work` under a lease that keeps what it makes from collection, and ends the lease. */
export async function withLease<T>(api: Api, namespace: string, work: (lease: string) => Promise<T>): Promise<T> {
  const expires = new Date(Date.now() + LEASE_MS).toISOString();
  const id = `berth-${process.pid}-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
  await api.call(LEASES, "Create", { id, labels: { "containerd.io/gc.expire": expires } }, { namespace });
  try {
    return await work(id);
  } finally {
    await api.call(LEASES, "Delete", { id }, { namespace }).catch(() => undefined);
  }
}
