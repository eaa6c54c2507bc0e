/** What the daemon and the processes that work on layers say to each other: one JSON text each way. */

import type { Code } from "../../proto/ttrpc/status.ts";
import type { Mount } from "../../shim/linux/index.ts";
import type { Compression } from "./compression.ts";
import type { Limits } from "./limits.ts";

/** To apply a layer. */
export interface ApplyRequest {
  /** Pid of the daemon: the process ends with it. */
  readonly parent: number;
  /** Path of the blob. */
  readonly blob: string;
  /** Whether the blob may be compressed. */
  readonly compression: "detect" | "none";
  readonly mounts: readonly Mount[];
  /** An empty directory that mounts may be made on, which only the process itself sees. */
  readonly mountPoint: string;
  /** Write the file system out before the answer. */
  readonly sync: boolean;
  readonly limits: Limits;
}

/** The layer that was applied, uncompressed. */
export interface Applied {
  readonly digest: string;
  readonly size: number;
}

/** To write the layer that leads from one tree to another. */
export interface CompareRequest {
  readonly parent: number;
  readonly lower: readonly Mount[];
  readonly upper: readonly Mount[];
  readonly mountPoint: string;
  readonly compression: Compression;
  /** The latest time that the layer may have, in seconds. */
  readonly latest?: number;
}

/** The layer that was written, uncompressed. */
export interface Compared {
  readonly digest: string;
}

/** An answer: what was asked for, or a code of containerd's vocabulary and a sentence. */
export type Answer<R> = { readonly result: R } | { readonly error: { readonly code: Code; readonly message: string } };
