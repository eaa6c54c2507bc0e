/** The directory that a delta is made in: blobs by digest, and layers uncompressed. All of it goes at the end. */

import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { ContainerdError, failedPrecondition, notFound } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";
import { LayerInput } from "../../diff/input.ts";
import { defaultLimits } from "../../diff/limits.ts";
import type { BlobInfo, BlobReader, Blobs, BlobWriter } from "../../image/stores.ts";
import type { RandomBytes } from "../patch/chunker.ts";

/** Brings a blob that is not here. @throws ContainerdError NotFound */
export type Bring = (digest: string) => AsyncIterable<Uint8Array>;

/** A layer, uncompressed, in a file. */
export interface Unpacked {
  readonly path: string;
  readonly bytes: number;
  readonly diffId: string;
}

/** One directory. */
export class WorkDirectory {
  readonly path: string;
  #count = 0;

  /** Makes one below `parent`. @throws Error when it cannot be made */
  constructor(parent: string) {
    this.path = mkdtempSync(join(parent, ".berth-delta-"));
  }

  /** A path that nothing has. */
  fresh(): string {
    return join(this.path, `file-${++this.#count}`);
  }

  /** Uncompresses a layer. @throws Error for one that is broken or too large */
  unpack(blob: string): Unpacked {
    const path = this.fresh();
    const input = new LayerInput(blob, "detect", defaultLimits);
    const file = openSync(path, "wx", 0o600);
    try {
      const buffer = Buffer.allocUnsafeSlow(1 << 20);
      for (let count = input.read(buffer, 0, buffer.length); count > 0; count = input.read(buffer, 0, buffer.length)) {
        for (let done = 0; done < count; ) done += writeSync(file, buffer, done, count - done);
      }
    } finally {
      closeSync(file);
    }
    return { path, bytes: input.size, diffId: input.digest() };
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Files read as one, one after another. */
export class Files implements RandomBytes {
  readonly size: number;
  readonly #parts: { readonly fd: number; readonly start: number; readonly end: number }[] = [];

  constructor(paths: readonly string[]) {
    let start = 0;
    for (const path of paths) {
      const fd = openSync(path, "r");
      const { size } = fstatSync(fd);
      this.#parts.push({ fd, start, end: start + size });
      start += size;
    }
    this.size = start;
  }

  read(offset: number, into: Uint8Array): void {
    for (const { fd, start, end } of this.#parts) {
      const [from, to] = [Math.max(offset, start), Math.min(offset + into.length, end)];
      for (let at = from; at < to; ) {
        const count = readSync(fd, into, at - offset, to - at, at - start);
        if (count === 0) throw new Error("a file became shorter while it was read");
        at += count;
      }
    }
  }

  close(): void {
    for (const { fd } of this.#parts) closeSync(fd);
  }
}

/** Blobs in a directory; those that are not there are brought when they are asked for. */
export class WorkBlobs implements Blobs {
  readonly #work: WorkDirectory;
  readonly #bring: Bring;

  constructor(work: WorkDirectory, bring: Bring = (digest) => absent(digest)) {
    this.#work = work;
    this.#bring = bring;
  }

  /** The file of a blob, which is here then. @throws ContainerdError NotFound; for one that is damaged */
  async file(digest: string): Promise<string> {
    const path = this.#path(digest);
    if (sizeOf(path) !== undefined) return path;
    const writer = await this.writer({ ref: digest });
    try {
      for await (const bytes of this.#bring(digest)) await writer.write(bytes);
      await writer.commit({ expected: digest });
    } finally {
      await writer.close();
    }
    return path;
  }

  async info(digest: string): Promise<BlobInfo> {
    return { digest, size: sizeOf(await this.file(digest)) ?? 0, labels: {} };
  }

  async open(digest: string): Promise<BlobReader> {
    return WorkBlobs.openFile(await this.file(digest));
  }

  /** Opens a file as a blob. */
  static async openFile(path: string): Promise<BlobReader> {
    const file = await open(path, "r");
    const { size } = await file.stat();
    return {
      ...{ path, size },
      async read(offset, length) {
        const { buffer, bytesRead } = await file.read(
          Buffer.alloc(Math.min(length, size - offset)),
          0,
          undefined,
          offset,
        );
        return buffer.subarray(0, bytesRead);
      },
      close: () => file.close(),
    };
  }

  async writer({ expected }: Parameters<Blobs["writer"]>[0]): Promise<BlobWriter> {
    if (expected !== undefined && sizeOf(this.#path(expected)) !== undefined) {
      throw new ContainerdError(Code.AlreadyExists, `content ${expected}: already exists`);
    }
    const path = this.#work.fresh();
    return new FileWriter(path, await open(path, "wx", 0o600), (digest) => this.#path(digest));
  }

  async abort(): Promise<void> {}

  async label(): Promise<void> {}

  async findUncompressed(): Promise<undefined> {
    return undefined;
  }

  #path(digest: string): string {
    return join(this.#work.path, digest.replace(":", "-"));
  }
}

// biome-ignore lint/correctness/useYield: it gives nothing, and says why
async function* absent(digest: string): AsyncGenerator<Uint8Array> {
  throw notFound(`blob ${digest} is not in the archive: not found`);
}

function sizeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.size;
}

class FileWriter implements BlobWriter {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #place: (digest: string) => string;
  readonly #hash = new Bun.CryptoHasher("sha256");
  #isOpen = true;
  offset = 0;

  constructor(path: string, file: FileHandle, place: (digest: string) => string) {
    this.#path = path;
    this.#file = file;
    this.#place = place;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes);
    for (let done = 0; done < bytes.length; ) {
      done += (await this.#file.write(bytes, done, bytes.length - done, this.offset + done)).bytesWritten;
    }
    this.offset += bytes.length;
  }

  async truncate(): Promise<void> {
    throw failedPrecondition("what is written here does not begin again");
  }

  digest(): string {
    return `sha256:${this.#hash.copy().digest("hex")}`;
  }

  async commit({ size, expected }: Parameters<BlobWriter["commit"]>[0]): Promise<void> {
    const digest = this.digest();
    if ((expected ?? digest) !== digest || (size ?? this.offset) !== this.offset) {
      throw failedPrecondition(
        `blob ${expected ?? digest} is damaged: it has ${this.offset} bytes and digest ${digest}`,
      );
    }
    await this.close();
    renameSync(this.#path, this.#place(digest));
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#file.close();
  }
}
