/** One repository of a registry, at the hosts that serve it (distribution/spec). */

import { ContainerdError, invalidArgument, notFound } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";
import { ByteSource, decompressed } from "../archive/source.ts";
import { type Descriptor, digestOf, isDigest } from "../descriptor.ts";
import { MAX_MANIFEST, schema1 } from "../manifest.ts";
import { isIndex, isManifest, mediaTypes } from "../mediatype.ts";
import { parseRemote, type RemoteReference } from "../reference.ts";
import type { Registry } from "../registry.ts";
import { wrap } from "../unpack.ts";
import { bodyOf, type HostClient, type Request } from "./client.ts";
import { TransientError, unexpectedStatus } from "./errors.ts";
import type { Capability } from "./hosts.ts";
import { pushBlob, pushManifest } from "./upload.ts";

/** What is understood, best first. */
const accepted = [
  mediaTypes.dockerManifest,
  mediaTypes.dockerIndex,
  mediaTypes.ociManifest,
  mediaTypes.ociIndex,
  "*/*",
].join(", ");

/** What a {@link Repository} is made of. */
export interface RepositoryParts {
  readonly name: string;
  /** The hosts of a registry, in the order in which they are asked. */
  readonly clientsOf: (host: string) => Promise<readonly HostClient[]>;
  /** Value of Accept when a name is resolved; undefined for what is usual. */
  readonly accept: string | undefined;
}

/** A repository. */
export class Repository implements Registry {
  readonly #parts: RepositoryParts;
  #clients: Promise<readonly HostClient[]> | undefined;

  constructor(parts: RepositoryParts) {
    this.#parts = parts;
  }

  get reference(): string {
    return this.#parts.name;
  }

  at(reference: string): Registry {
    const other = new Repository({ ...this.#parts, name: reference });
    // Who has asked there before need not show again who it is.
    if (parseRemote(reference).host === this.#place.host) other.#clients = this.#clients;
    return other;
  }

  #able(...capabilities: readonly Capability[]): Promise<HostClient[]> {
    this.#clients ??= this.#parts.clientsOf(this.#place.host);
    return this.#clients.then((clients) =>
      clients.filter(({ host }) => capabilities.every((capability) => host.capabilities.has(capability))),
    );
  }

  /** @throws ContainerdError InvalidArgument for a name that no registry can have */
  get #place(): RemoteReference {
    return parseRemote(this.#parts.name);
  }

  async resolve(signal: AbortSignal): Promise<Descriptor> {
    const { tag, digest } = this.#place;
    if (tag === "" && digest === "") throw invalidArgument("object required");
    const clients = await this.#able("pull", ...(digest === "" ? (["resolve"] as const) : []));
    if (clients.length === 0) throw notFound("no resolve hosts: not found");
    const paths = digest === "" ? [`manifests/${tag}`] : [`manifests/${digest}`, `blobs/${digest}`];
    const failures: { rank: number; error: unknown }[] = [];
    for (const path of paths) {
      for (const [index, client] of clients.entries()) {
        try {
          return await this.#resolveAt(client, path, index === clients.length - 1, signal);
        } catch (error) {
          if (signal.aborted) throw error;
          failures.push({ rank: rankOf(error), error });
        }
      }
    }
    // The one that came furthest tells most.
    failures.sort((a, b) => b.rank - a.rank);
    throw failures[0]?.error;
  }

  async #resolveAt(client: HostClient, path: string, isLast: boolean, signal: AbortSignal): Promise<Descriptor> {
    const { digest: wanted } = this.#place;
    const request = (method: Request["method"]): Request => ({
      ...this.#request(client, method, path),
      headers: { accept: this.#parts.accept ?? accepted },
      isRetried: isLast,
      mayDowngrade: wanted !== "",
    });
    let response = await this.#allowed(client.send(request("HEAD"), signal));
    // Some registries know HEAD for blobs alone.
    if (response.status === 405) response = await this.#allowed(client.send(request("GET"), signal));
    const told = response.headers.get("docker-content-digest") ?? "";
    const length = response.headers.get("content-length");
    await response.body?.cancel();
    if (!response.ok) throw await this.#statusError(client, request("HEAD"), response);
    const mediaType = mediaTypeOf(response);
    if (told !== "" && !isDigest(told)) {
      throw new ContainerdError(Code.Unknown, `${JSON.stringify(told.slice(0, 100))} in header not a valid digest`);
    }
    const digest = wanted === "" ? told : wanted;
    if (digest !== "" && length !== null) return checked({ mediaType, digest, size: Number(length) }, this.reference);
    return this.#resolveByGet(client, request("GET"), signal);
  }

  /** For registries that do not tell digest and length beforehand. */
  async #resolveByGet(client: HostClient, request: Request, signal: AbortSignal): Promise<Descriptor> {
    const response = await this.#allowed(client.send(request, signal));
    if (!response.ok) throw await this.#statusError(client, request, response);
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const part of bodyOf(response)) {
      parts.push(part);
      size += part.length;
      if (size > MAX_MANIFEST) break;
    }
    const digest = this.#place.digest || digestOf(Buffer.concat(parts));
    return checked({ mediaType: mediaTypeOf(response), digest, size }, this.reference);
  }

  async fetch(descriptor: Descriptor, offset: number, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const { digest, mediaType } = descriptor;
    if (mediaType === mediaTypes.dockerSchema1) throw schema1();
    const clients = await this.#able("pull");
    if (clients.length === 0) throw notFound("no pull hosts: not found");
    const kind = isManifest(mediaType) || isIndex(mediaType) ? "manifests" : "blobs";
    let first: unknown;
    for (const [index, client] of clients.entries()) {
      const request = {
        ...this.#request(client, "GET", `${kind}/${digest}`),
        headers: { accept: `${mediaType === "" ? "" : `${mediaType}, `}*/*` },
        isRetried: index === clients.length - 1,
      };
      try {
        return await this.#open(client, request, offset, signal);
      } catch (error) {
        if (signal.aborted) throw error;
        first ??= error;
      }
    }
    if ((first as ContainerdError).code !== Code.NotFound) throw first;
    throw notFound(`could not fetch content descriptor ${digest} (${mediaType}) from remote: not found`);
  }

  async #open(
    client: HostClient,
    request: Request,
    offset: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const ranged = offset === 0 ? request : { ...request, headers: { ...request.headers, range: `bytes=${offset}-` } };
    let response = await this.#allowed(client.send(ranged, signal));
    if (response.status === 416 && offset > 0) {
      await response.body?.cancel();
      response = await this.#allowed(client.send(request, signal));
    }
    if (!response.ok) throw await unexpectedStatus("GET", client.url(request.target), response);
    const range = response.headers.get("content-range");
    const isPart = response.status === 206 && offset > 0;
    if (isPart && range !== null && !range.startsWith(`bytes ${offset}-`)) {
      await response.body?.cancel();
      throw new TransientError(`unhandled content range in response: ${range.slice(0, 100)}`);
    }
    const encoding = (response.headers.get("content-encoding") ?? "identity").trim().toLowerCase();
    const bytes = encoding === "identity" || encoding === "" ? bodyOf(response) : decoded(bodyOf(response));
    return isPart || offset === 0 ? bytes : after(bytes, offset);
  }

  async push(
    descriptor: Descriptor,
    open: Parameters<Registry["push"]>[1],
    options: Parameters<Registry["push"]>[2],
  ): Promise<boolean> {
    const [client] = await this.#able("push");
    if (client === undefined) throw notFound("no push hosts: not found");
    const { name } = this.#parts;
    const reference = this.#place;
    const target = { client, reference, name, base: `${client.host.path}/${reference.repository}` };
    const isDocument = isManifest(descriptor.mediaType) || isIndex(descriptor.mediaType);
    try {
      return await (isDocument ? pushManifest : pushBlob)(target, descriptor, open, options);
    } catch (error) {
      throw isDenied(error)
        ? wrap("push access denied, repository does not exist or may require authorization", error)
        : error;
    }
  }

  #request(client: HostClient, method: Request["method"], path: string): Request {
    const { host, repository } = this.#place;
    const isMirror =
      client.host.host !== host && !(host === "docker.io" && client.host.host === "registry-1.docker.io");
    return {
      method,
      target: `${client.host.path}/${repository}/${path}${isMirror ? `?ns=${encodeURIComponent(host)}` : ""}`,
      scopes: [`repository:${repository}:pull`],
      isRetried: true,
      mayDowngrade: true,
    };
  }

  async #allowed(answer: Promise<Response>): Promise<Response> {
    try {
      return await answer;
    } catch (error) {
      throw isDenied(error)
        ? wrap("pull access denied, repository does not exist or may require authorization", error)
        : error;
    }
  }

  async #statusError(client: HostClient, request: Request, response: Response): Promise<ContainerdError> {
    if (response.status === 404) return notFound(`${this.reference}: not found`);
    return unexpectedStatus(request.method, client.url(request.target), response);
  }
}

function isDenied(error: unknown): boolean {
  return error instanceof ContainerdError && error.message.startsWith("authorization failed:");
}

/** How far a question came: an answer tells more than none, a refusal more than an absence. */
function rankOf(error: unknown): number {
  if (!(error instanceof ContainerdError)) return 0;
  if (error.code === Code.NotFound) return 2;
  return error.message.startsWith("failed to do request") ? 1 : 3;
}

function mediaTypeOf(response: Response): string {
  const type = (response.headers.get("content-type") ?? "").split(";", 1)[0]?.trim() ?? "";
  // Some registries tell no type of schema 1.
  return type === "text/plain" ? mediaTypes.dockerSchema1 : type;
}

function checked(descriptor: Descriptor, name: string): Descriptor {
  const { size } = descriptor;
  if (!Number.isSafeInteger(size) || size < 0 || size > MAX_MANIFEST) {
    throw notFound(`rejecting ${size} byte manifest for ${name}: not found`);
  }
  if (descriptor.mediaType === mediaTypes.dockerSchema1) throw schema1();
  return descriptor;
}

/** What a server has compressed on the way although it was not asked to. */
async function* decoded(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* await decompressed(new ByteSource(bytes));
}

/** The bytes from `offset` on, of a server that sends all of them. */
async function* after(bytes: AsyncIterable<Uint8Array>, offset: number): AsyncGenerator<Uint8Array> {
  let left = offset;
  for await (const chunk of bytes) {
    if (left < chunk.length) yield chunk.subarray(left);
    left = Math.max(0, left - chunk.length);
  }
}
