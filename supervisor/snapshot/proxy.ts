/**
 * A snapshotter in another process, which serves the Snapshots API on a unix socket: `proxy_plugins` of the configuration,
 * as stargz, nydus and others come (core/snapshots/proxy/proxy.go).
 */

import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { ContainerdError } from "../../proto/errdefs.ts";
import { type Method, services } from "../../proto/gen/services.js";
import type { containerd } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Labels } from "../store/labels.ts";
import { microsOf } from "../store/time.ts";
import type { Alongside, CommitOptions, Kind, SnapshotInfo, SnapshotMount, Snapshotter, Usage } from "./snapshotter.ts";

const service = "containerd.services.snapshots.v1.Snapshots";
const methods = services[service];
type Methods = typeof methods;
interface MessageType {
  encode(message: never): { finish(): Uint8Array };
  decode(bytes: Uint8Array): unknown;
}
type Request<M> =
  M extends Method<infer Q extends MessageType, unknown, boolean, boolean> ? Parameters<Q["encode"]>[0] : never;
type Response<M> =
  M extends Method<unknown, infer R extends MessageType, boolean, boolean> ? ReturnType<R["decode"]> : never;

/** Such a process may fetch a layer before it answers. */
const CHANGE_MS = 600_000;
const READ_MS = 30_000;
const MAX_MESSAGE = 16 << 20;
/** Between two attempts to connect, as containerd has it. */
const RECONNECT_MS = { "grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 3000 };

/** Writes the caller's record durably. */
export type Commit = (alongside: Alongside) => Promise<void>;

/** A snapshotter behind a unix socket. It connects when it is used, and again whenever the connection is lost. */
export class ProxySnapshotter implements Snapshotter {
  readonly isRemote = true;
  readonly #client: Client;
  readonly #name: string;
  readonly #commit: Commit;

  /**
   * @param name of the snapshotter here and there
   * @param address path of the socket
   */
  constructor(name: string, address: string, commit: Commit) {
    this.#name = name;
    this.#commit = commit;
    this.#client = new Client(`unix:${address}`, credentials.createInsecure(), {
      "grpc.max_receive_message_length": MAX_MESSAGE,
      "grpc.max_send_message_length": MAX_MESSAGE,
      // Go's servers refuse the path of the socket as the name of a host.
      "grpc.default_authority": "localhost",
      ...RECONNECT_MS,
    });
  }

  async stat(key: string): Promise<SnapshotInfo> {
    return infoOf((await this.#call("Stat", key, { snapshotter: this.#name, key }, READ_MS)).info ?? undefined);
  }

  async update(name: string, labels: Labels, paths: readonly string[], alongside: Alongside): Promise<SnapshotInfo> {
    const request = {
      snapshotter: this.#name,
      info: { name, labels: { ...labels } },
      updateMask: { paths: [...paths] },
    };
    const { info } = await this.#call("Update", name, request, READ_MS);
    await this.#commit(alongside);
    return infoOf(info ?? undefined);
  }

  async usage(key: string, signal?: AbortSignal): Promise<Usage> {
    const { size, inodes } = await this.#call("Usage", key, { snapshotter: this.#name, key }, CHANGE_MS, signal);
    return { size: Number(size), inodes: Number(inodes) };
  }

  async mounts(key: string): Promise<SnapshotMount[]> {
    return mountsOf((await this.#call("Mounts", key, { snapshotter: this.#name, key }, READ_MS)).mounts);
  }

  prepare(key: string, parent: string, labels: Labels, alongside: Alongside): Promise<SnapshotMount[]> {
    return this.#create("Prepare", key, parent, labels, alongside);
  }

  view(key: string, parent: string, labels: Labels, alongside: Alongside): Promise<SnapshotMount[]> {
    return this.#create("View", key, parent, labels, alongside);
  }

  async commit(name: string, key: string, labels: Labels, options: CommitOptions, alongside: Alongside): Promise<void> {
    const request = { snapshotter: this.#name, name, key, labels: { ...labels }, parent: options.parent ?? "" };
    await this.#call("Commit", key, request, CHANGE_MS);
    await this.#commit(alongside);
  }

  async remove(key: string, alongside: Alongside): Promise<void> {
    await this.#call("Remove", key, { snapshotter: this.#name, key }, CHANGE_MS);
    await this.#commit(alongside);
  }

  async *list(namespace = ""): AsyncIterable<SnapshotInfo> {
    const row = methods.List as unknown as { request: MessageType; response: MessageType };
    const call = this.#client.makeServerStreamRequest(
      `/${service}/List`,
      (message: unknown) => Buffer.from(row.request.encode(message as never).finish()),
      (bytes: Buffer) => row.response.decode(bytes) as Response<Methods["List"]>,
      { snapshotter: this.#name, filters: [] },
      metadataOf(namespace),
      { deadline: Date.now() + CHANGE_MS },
    );
    try {
      for await (const { info } of call as AsyncIterable<Response<Methods["List"]>>) yield* info.map(infoOf);
    } catch (error) {
      throw translated(this.#name, error as ServiceError);
    } finally {
      call.cancel();
    }
  }

  async cleanup(): Promise<void> {
    try {
      await this.#call("Cleanup", "", { snapshotter: this.#name }, CHANGE_MS);
    } catch (error) {
      if (!(error instanceof ContainerdError && error.code === Code.Unimplemented)) throw error;
    }
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  async #create(
    verb: "Prepare" | "View",
    key: string,
    parent: string,
    labels: Labels,
    alongside: Alongside,
  ): Promise<SnapshotMount[]> {
    const request = { snapshotter: this.#name, key, parent, labels: { ...labels } };
    const { mounts } = await this.#call(verb, key, request, CHANGE_MS);
    await this.#commit(alongside);
    return mountsOf(mounts);
  }

  #call<M extends Exclude<keyof Methods & string, "List">>(
    method: M,
    key: string,
    request: Request<Methods[M]>,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Response<Methods[M]>> {
    const row = methods[method] as unknown as { request: MessageType; response: MessageType };
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        `/${service}/${method}`,
        (message: unknown) => Buffer.from(row.request.encode(message as never).finish()),
        (bytes: Buffer) => row.response.decode(bytes),
        request,
        // Keys begin with their namespace; a full containerd at the other end wants to know it.
        metadataOf(key.slice(0, Math.max(0, key.indexOf("/")))),
        { deadline: Date.now() + timeoutMs },
        (error, response) => {
          signal?.removeEventListener("abort", cancel);
          if (error === null) resolve(response as Response<Methods[M]>);
          else reject(translated(this.#name, error));
        },
      );
      const cancel = (): void => call.cancel();
      signal?.addEventListener("abort", cancel, { once: true });
    });
  }
}

function metadataOf(namespace: string): Metadata {
  const metadata = new Metadata();
  if (namespace !== "") metadata.set("containerd-namespace", namespace);
  return metadata;
}

/** The other process's error as it is; one of the connection with the snapshotter's name. */
function translated(name: string, error: ServiceError): ContainerdError {
  const code = (Object.values(Code) as number[]).includes(error.code) ? (error.code as Code) : Code.Unknown;
  const message = code === Code.Unavailable ? `proxy snapshotter ${name}: ${error.details}` : error.details;
  return new ContainerdError(code, message, { cause: error });
}

function infoOf(info: containerd.services.snapshots.v1.Info.$Properties | undefined): SnapshotInfo {
  return {
    kind: (info?.kind ?? 0) as Kind,
    name: info?.name ?? "",
    parent: info?.parent ?? "",
    labels: { ...info?.labels },
    createdAt: microsOf(info?.createdAt),
    updatedAt: microsOf(info?.updatedAt),
  };
}

function mountsOf(mounts: readonly containerd.types.Mount.$Properties[]): SnapshotMount[] {
  return mounts.map(({ type, source, target, options }) => ({
    type: type ?? "",
    source: source ?? "",
    target: target ?? "",
    options: [...(options ?? [])],
  }));
}
