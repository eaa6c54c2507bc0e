/** Checkpoints of tasks as content, and back (plugins/services/tasks/local.go). */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ContainerdError, messageOf, unknown } from "../../proto/errdefs.ts";
import { type containerd, google } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Any } from "./launch.ts";
import { prefixed } from "./open.ts";
import { checkpointOptions } from "./options.ts";
import { tarOf } from "./tar.ts";
import type { Task } from "./task.ts";

type Descriptor = containerd.types.Descriptor.$Properties;

/** criu's images, as a tar archive. */
const IMAGES = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
/** The container's specification, as an encoded Any. */
const CONFIG = "application/vnd.containerd.container.checkpoint.config.v1+proto";
/** What the archive is to whoever unpacks it. */
const TAR = "application/vnd.oci.image.layer.v1.tar";

/** What is needed of the content room. */
export interface CheckpointContent {
  readerAt(
    namespace: string,
    digest: string,
  ): Promise<{ readonly size: number; readonly path: string; close(): unknown }>;
  writer(
    namespace: string,
    options: { readonly ref: string; readonly lease?: string | undefined },
  ): Promise<{
    readonly offset: number;
    digest(): string;
    write(bytes: Uint8Array): Promise<void>;
    truncate(size: number): Promise<void>;
    commit(): Promise<void>;
    close(): Promise<void>;
  }>;
}

/** What is needed of the diff room. */
export interface Unpacker {
  apply(
    layer: { mediaType: string; digest: string; size: number },
    mounts: readonly { type: string; source: string; target: string; options: readonly string[] }[],
    options: { blobPath: string; syncFs?: boolean },
  ): Promise<unknown>;
}

/** The directory that a task is restored from. */
export interface RestorePath {
  /** Empty when the task is new. */
  readonly path: string;
  /** Removes the directory, when it was made for this. */
  discard(): Promise<void>;
}

/** Makes checkpoints and brings them back, for one daemon. */
export class Checkpoints {
  readonly #content: CheckpointContent;
  readonly #unpacker: Unpacker;

  constructor(content: CheckpointContent, unpacker: Unpacker) {
    this.#content = content;
    this.#unpacker = unpacker;
  }

  /**
   * Where criu's images are that a task is restored from: where the options say, else unpacked from a blob.
   * @throws ContainerdError Unknown in containerd's words
   */
  async restorePath(namespace: string, given: string, descriptor: Descriptor | undefined): Promise<RestorePath> {
    const asGiven = { path: descriptor?.annotations?.["RestoreFromPath"] ?? given, discard: async () => undefined };
    if (asGiven.path !== "" || descriptor === undefined) return asGiven;
    const mediaType = descriptor.mediaType ?? "";
    const digest = descriptor.digest ?? "";
    if (mediaType !== IMAGES) throw unknown(`unsupported checkpoint type ${JSON.stringify(mediaType)}`);
    const reader = await this.#content.readerAt(namespace, digest).catch((error: unknown) => {
      // containerd does not tell here that it is the caller's mistake.
      throw unknown(messageOf(error), error);
    });
    const path = await temporary();
    const discard = () => rm(path, { recursive: true, force: true });
    try {
      const bind = { type: "bind", source: path, target: "", options: ["rbind", "rw"] };
      const layer = { mediaType: TAR, digest, size: Number(descriptor.size ?? 0) };
      await this.#unpacker.apply(layer, [bind], { blobPath: reader.path, syncFs: false });
      return { path, discard };
    } catch (error) {
      await discard();
      throw prefixed(`cannot unpack checkpoint ${digest}`, error);
    } finally {
      await reader.close();
    }
  }

  /**
   * Makes a checkpoint of a task.
   * @param container its record
   * @returns what it consists of; nothing when the options name a directory, where it then is
   * @throws ContainerdError Unknown with what criu says
   */
  async checkpoint(
    task: Task,
    container: {
      readonly runtime?: { readonly name?: string | null } | null;
      readonly spec?: Any | null;
    },
    options: Any | undefined,
    lease: string | undefined,
  ): Promise<Descriptor[]> {
    const given = checkpointOptions(container.runtime?.name ?? "", options)?.imagePath ?? "";
    if (given !== "") {
      await task.checkpoint(given, options);
      return [];
    }
    const directory = await temporary();
    try {
      await task.checkpoint(directory, options);
      const { namespace } = task;
      const spec = google.protobuf.Any.encode(container.spec ?? {}).finish();
      return [
        await this.#write(namespace, lease, IMAGES, directory, tarOf(directory)),
        await this.#write(namespace, lease, CONFIG, join(directory, "spec"), [spec]),
      ];
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  async #write(
    namespace: string,
    lease: string | undefined,
    mediaType: string,
    ref: string,
    pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  ): Promise<Descriptor> {
    const writer = await this.#content.writer(namespace, { ref, lease });
    try {
      // The ref is of a directory that was just made; an ingest of that name is of another life.
      if (writer.offset > 0) await writer.truncate(0);
      for await (const piece of pieces) await writer.write(piece);
      const size = writer.offset;
      const digest = writer.digest();
      await writer.commit().catch((error: unknown) => {
        if (!(error instanceof ContainerdError) || error.code !== Code.AlreadyExists) throw error;
      });
      return { mediaType, digest, size };
    } finally {
      await writer.close();
    }
  }
}

function temporary(): Promise<string> {
  return mkdtemp(join(process.env["XDG_RUNTIME_DIR"] || tmpdir(), "ctrd-checkpoint"));
}
