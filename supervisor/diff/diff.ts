/** Layers to file systems and back. Nothing of a layer is read in the daemon: each is worked on by a process. */

import { mkdirSync } from "node:fs";
import { ContainerdError, invalidArgument, notImplemented, unknown } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Mount } from "../../shim/linux/index.ts";
import { layerCommand } from "./command.ts";
import { compressionOf, LAYER_TAR } from "./compression.ts";
import { defaultLimits, type Limits } from "./limits.ts";
import type { Answer, Applied, ApplyRequest } from "./request.ts";

/** What a blob is. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** How to apply a layer. */
export interface ApplyOptions {
  /** Path of the blob's file. */
  readonly blobPath: string;
  readonly signal?: AbortSignal | undefined;
  /** Write the file system out before the answer; true unless told, so that what is committed survives a power cut. */
  readonly syncFs?: boolean | undefined;
}

/** How this room is set up. */
export interface DiffOptions {
  /** An empty directory: layer processes mount on it, each for itself alone. */
  readonly mountPoint: string;
  readonly limits?: Partial<Limits> | undefined;
}

/** Applies and makes layers. */
export class Diff {
  readonly #mountPoint: string;
  readonly #limits: Limits;

  /** Makes the mount point when it is missing. */
  constructor(options: DiffOptions) {
    this.#mountPoint = options.mountPoint;
    mkdirSync(options.mountPoint, { recursive: true, mode: 0o700 });
    this.#limits = { ...defaultLimits, ...options.limits };
  }

  /**
   * Applies a layer to what the mounts show. A process of its own does it; it ends with the signal and with the daemon.
   * @returns the uncompressed layer
   * @throws ContainerdError InvalidArgument for a layer that is refused, ResourceExhausted for one that asks for too much
   * or a full disk, Canceled; then what was written of it stays, as the unfinished snapshot that it is
   */
  async apply(layer: Descriptor, mounts: readonly Mount[], options: ApplyOptions): Promise<Descriptor> {
    const compression = compressionOf(layer.mediaType);
    if (compression === undefined) {
      throw notImplemented(`failed to get stream processor for ${layer.mediaType}: no processor for media-type`);
    }
    if (mounts.length === 0) throw invalidArgument("no mounts to apply the layer to: invalid argument");
    const request: ApplyRequest = {
      parent: process.pid,
      blob: options.blobPath,
      compression,
      mounts,
      mountPoint: this.#mountPoint,
      sync: options.syncFs ?? true,
      limits: this.#limits,
    };
    const applied = await run<Applied>("apply", request, options.signal);
    return { mediaType: LAYER_TAR, digest: applied.digest, size: applied.size };
  }
}

/**
 * Refuses payloads: they are for stream processors, programs of the configuration, of which there are none.
 * @throws ContainerdError Unimplemented
 */
export function checkProcessors(mediaType: string, payloads: readonly string[]): void {
  const [id] = payloads;
  if (id === undefined) return;
  throw notImplemented(
    `no stream processor ${JSON.stringify(id)} for ${mediaType}: stream processors are not supported`,
  );
}

/** Runs one layer process to its end. */
async function run<R>(action: string, request: object, signal: AbortSignal | undefined): Promise<R> {
  if (signal?.aborted) throw new ContainerdError(Code.Canceled, "context canceled");
  const child = Bun.spawn(layerCommand(action), {
    cwd: "/",
    env: {},
    stdin: Buffer.from(JSON.stringify(request)),
    stdout: "pipe",
    stderr: "pipe",
  });
  const kill = (): void => child.kill("SIGKILL");
  signal?.addEventListener("abort", kill);
  try {
    const [output, complaint] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    if (signal?.aborted) throw new ContainerdError(Code.Canceled, "context canceled");
    return resultOf<R>(output, complaint, String(child.signalCode ?? `status ${child.exitCode}`));
  } finally {
    signal?.removeEventListener("abort", kill);
  }
}

function resultOf<R>(output: string, complaint: string, end: string): R {
  let said: Answer<R>;
  try {
    said = JSON.parse(output) as Answer<R>;
  } catch (cause) {
    throw unknown(`the process for a layer ended with ${end}: ${complaint.slice(0, 1000) || "it said nothing"}`, cause);
  }
  if ("error" in said) throw new ContainerdError(said.error.code, said.error.message);
  return said.result;
}
