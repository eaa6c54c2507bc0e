/** Gives blobs and manifests to a registry: only what it lacks, in one piece, and from where it stopped when that broke. */

import { ContainerdError } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";
import type { Descriptor } from "../descriptor.ts";
import { MAX_MANIFEST } from "../manifest.ts";
import type { RemoteReference } from "../reference.ts";
import type { Registry } from "../registry.ts";
import { mountCandidate } from "../source-label.ts";
import type { BlobReader } from "../stores.ts";
import type { HostClient, Request } from "./client.ts";
import { TransientError, tellable, unexpectedStatus } from "./errors.ts";

/** Where something is pushed to. */
export interface PushTarget {
  readonly client: HostClient;
  readonly reference: RemoteReference;
  readonly name: string;
  /** Path of the repository. */
  readonly base: string;
}

type Open = Parameters<Registry["push"]>[1];
type Options = Parameters<Registry["push"]>[2];

/** Attempts to bring a blob over that each come no further than the one before. */
const MAX_ATTEMPTS = 5;
/** Bytes that are read and sent at a time. */
const CHUNK = 1 << 20;

function request(target: PushTarget, method: Request["method"], path: string, more: Partial<Request> = {}): Request {
  const scopes = [`repository:${target.reference.repository}:pull,push`];
  return { method, target: path, scopes, isRetried: true, mayDowngrade: false, ...more };
}

/** Pushes a manifest or index under its digest, or as the tag when it is what the tag is to stand for. */
export async function pushManifest(
  target: PushTarget,
  descriptor: Descriptor,
  open: Open,
  options: Options,
): Promise<boolean> {
  const { digest, mediaType, size } = descriptor;
  const { reference, client, base } = target;
  const isTagged = reference.tag !== "" && (reference.digest === "" || reference.digest === digest) && options.isRoot;
  const path = `${base}/manifests/${isTagged ? reference.tag : digest}`;
  const accept = { accept: `${mediaType}, */*` };
  const head = await client.send(request(target, "HEAD", path, { headers: accept }), options.signal);
  await head.body?.cancel();
  if (head.ok && (!isTagged || head.headers.get("docker-content-digest") === digest)) return false;
  if (!head.ok && head.status !== 404) throw await unexpectedStatus("HEAD", client.url(path), head);
  if (size > MAX_MANIFEST)
    throw new ContainerdError(
      Code.ResourceExhausted,
      `manifest ${digest} has ${size} bytes; ${MAX_MANIFEST} are allowed`,
    );
  const reader = await open();
  let bytes: Uint8Array;
  try {
    bytes = await reader.read(0, reader.size);
  } finally {
    await reader.close();
  }
  const put = request(target, "PUT", path, {
    headers: { "content-type": mediaType },
    body: () => bytes,
    size: bytes.length,
  });
  await accept2xx("PUT", client, path, await client.send(put, options.signal), digest);
  options.moved(bytes.length);
  return true;
}

async function accept2xx(
  method: string,
  client: HostClient,
  path: string,
  response: Response,
  digest: string,
): Promise<void> {
  if (![200, 201, 202, 204].includes(response.status)) throw await unexpectedStatus(method, client.url(path), response);
  await response.body?.cancel();
  const told = response.headers.get("docker-content-digest");
  if (told !== null && told !== "" && told !== digest) {
    throw new ContainerdError(Code.Unknown, `got digest ${told.slice(0, 100)}, expected ${digest}`);
  }
}

/** Pushes a blob. @returns false when the registry has it, or could take it from another repository */
export async function pushBlob(
  target: PushTarget,
  descriptor: Descriptor,
  open: Open,
  options: Options,
): Promise<boolean> {
  const { digest } = descriptor;
  const { client, base } = target;
  const { signal } = options;
  const path = `${base}/blobs/${digest}`;
  const head = await client.send(request(target, "HEAD", path), signal);
  await head.body?.cancel();
  if (head.ok) return false;
  if (head.status !== 404) throw await unexpectedStatus("HEAD", client.url(path), head);
  let location = await begin(target, descriptor, signal);
  if (location === undefined) return false;
  const reader = await open();
  try {
    let done = 0;
    for (let fruitless = 0; ; ) {
      try {
        const sent = await sendRest(target, location, reader, done, descriptor, options);
        if (sent === undefined) return true;
      } catch (error) {
        if (signal.aborted || !(error instanceof TransientError)) throw error;
        const state = await progressOf(target, location, signal);
        const arrived: number = state?.offset ?? 0;
        fruitless = arrived > done ? 0 : fruitless + 1;
        if (fruitless >= MAX_ATTEMPTS) throw error;
        done = arrived;
        location = state?.location ?? (await begin(target, descriptor, signal, false)) ?? location;
      }
    }
  } finally {
    await reader.close();
  }
}

/**
 * Begins an upload, or has the blob mounted from another repository.
 * @returns where to send it; undefined when that is not needed
 */
async function begin(
  target: PushTarget,
  descriptor: Descriptor,
  signal: AbortSignal,
  mayMount = true,
): Promise<string | undefined> {
  const { client, base, name } = target;
  const path = `${base}/blobs/uploads/`;
  const from = mayMount ? mountCandidate(name, descriptor.annotations ?? {}) : undefined;
  let response: Response | undefined;
  if (from !== undefined) {
    const query = new URLSearchParams({ mount: descriptor.digest, from });
    const mount = request(target, "POST", `${path}?${query}`);
    const scopes = [...mount.scopes, `repository:${from}:pull`];
    // Who may not read the other repository can still push.
    response = await client.send({ ...mount, scopes }, signal).catch((error: unknown) => {
      if (signal.aborted || error instanceof TransientError) throw error;
      return undefined;
    });
    if (response && ![201, 202].includes(response.status)) {
      await response.body?.cancel();
      response = undefined;
    }
  }
  response ??= await client.send(request(target, "POST", path, { body: () => new Uint8Array(), size: 0 }), signal);
  if (response.status === 201) {
    await response.body?.cancel();
    return undefined;
  }
  if (![200, 202, 204].includes(response.status)) throw await unexpectedStatus("POST", client.url(path), response);
  await response.body?.cancel();
  return locationOf(client, path, response);
}

function locationOf(client: HostClient, path: string, response: Response): string {
  const location = response.headers.get("location");
  try {
    return new URL(location ?? "", client.url(path)).href;
  } catch {
    throw new ContainerdError(Code.Unknown, `unable to parse location of upload from ${tellable(client.url(path))}`);
  }
}

/** What has arrived of an upload. @returns undefined when the registry does not know, or knows it no more */
async function progressOf(
  target: PushTarget,
  location: string,
  signal: AbortSignal,
): Promise<{ offset: number; location: string } | undefined> {
  const response = await target.client.send(request(target, "GET", location), signal).catch((error: unknown) => {
    if (signal.aborted) throw error;
    return undefined;
  });
  if (response === undefined) return undefined;
  await response.body?.cancel();
  const last = /^(?:bytes=)?0-(\d+)$/.exec(response.headers.get("range") ?? "")?.[1];
  if (response.status !== 204 || last === undefined) return undefined;
  // An upload without a byte is told as 0-0, like one with a single byte: that one is sent again.
  const offset = Number(last) === 0 ? 0 : Number(last) + 1;
  return {
    offset,
    location: response.headers.has("location") ? locationOf(target.client, location, response) : location,
  };
}

/** Sends what is missing of a blob, and ends the upload. @returns undefined when it is done */
async function sendRest(
  target: PushTarget,
  location: string,
  reader: BlobReader,
  offset: number,
  { digest, size }: Descriptor,
  { signal, moved }: Options,
): Promise<undefined> {
  const { client } = target;
  let end = location;
  const headers: Record<string, string> = { "content-type": "application/octet-stream" };
  if (offset > 0 && offset < size) {
    const patch = request(target, "PATCH", location, {
      headers: { ...headers, "content-range": `${offset}-${size - 1}` },
      body: () => bytesFrom(reader, offset, moved),
      size: size - offset,
      isRetried: false,
    });
    const response = await client.send(patch, signal);
    if (![200, 202, 204].includes(response.status)) throw await unexpectedStatus("PATCH", location, response);
    await response.body?.cancel();
    end = locationOf(client, location, response);
  }
  const url = new URL(end);
  url.searchParams.append("digest", digest);
  const isWhole = offset === 0;
  const put = request(target, "PUT", url.href, {
    headers,
    body: isWhole ? () => bytesFrom(reader, 0, moved) : () => new Uint8Array(),
    size: isWhole ? size : 0,
    isRetried: false,
  });
  await accept2xx("PUT", client, end, await client.send(put, signal), digest);
  return undefined;
}

async function* bytesFrom(
  reader: BlobReader,
  start: number,
  moved: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for (let offset = start; offset < reader.size; ) {
    const bytes = await reader.read(offset, CHUNK);
    if (bytes.length === 0) throw new ContainerdError(Code.DataLoss, `${reader.path} ends after ${offset} bytes`);
    offset += bytes.length;
    yield bytes;
    moved(offset);
  }
}
