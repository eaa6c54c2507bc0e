/** Writers of blobs: each has the lock of its ref, appends to its ingest, and ends by a commit or by closing. */

import type { FileHandle } from "node:fs/promises";
import { ContainerdError, failedPrecondition, messageOf, unknown } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { checkLabels, type Labels } from "../store/labels.ts";
import { quote } from "../store/quote.ts";
import { nowMicros } from "../store/time.ts";
import { diskError } from "./disk.ts";
import { Appender } from "./ingest.ts";

/** How far a write has come. Times are microseconds, sizes bytes. */
export interface WriterStatus {
  readonly ref: string;
  readonly offset: number;
  readonly total: number;
  readonly startedAt: number;
  readonly updatedAt: number;
  /** The digest, where the blob is there already in another namespace; else empty. */
  readonly expected: string;
}

/** What a commit may check and add. */
export interface CommitOptions {
  /** Bytes that must have been written; 0 or missing: any. */
  readonly size?: number;
  /** The digest that must have come out; empty or missing: any. */
  readonly expected?: string;
  readonly labels?: Labels;
}

/** A blob that is being written. */
export interface ContentWriter {
  readonly offset: number;
  /** What was told when it was opened, and what has happened since. */
  status(): WriterStatus;
  /** The digest of what was written so far. */
  digest(): string;
  /**
   * Appends bytes, which must not be changed afterwards. Resolves when more may be given: they need not be written yet.
   * @throws ContainerdError ResourceExhausted when the disk is full: then the ingest is gone
   */
  write(bytes: Uint8Array): Promise<void>;
  /** Begins again. @param size only 0 is possible */
  truncate(size: number): Promise<void>;
  /**
   * Makes the blob. When this resolves it survives a power cut.
   * @throws ContainerdError AlreadyExists when the namespace has it (which is as good), FailedPrecondition for another
   * size or digest
   */
  commit(options?: CommitOptions): Promise<void>;
  /** Ends without a commit: the ingest can be resumed. Does nothing after a commit. */
  close(): Promise<void>;
}

/** An opened ingest. */
export interface OpenIngest {
  readonly path: string;
  readonly file: FileHandle;
  readonly offset: number;
  readonly hasher: Bun.CryptoHasher;
  /** Told when the writer lets go of it. */
  readonly release: () => void;
}

/** What a writer needs of the store. */
export interface WriterHost {
  /** Opens the ingest of a writer that began with a blob of another namespace; its first `size` bytes are copied. */
  unshare(size: number): Promise<OpenIngest>;
  /** Puts a written ingest, or the blob of another namespace, into the namespace. The file is closed by the host. */
  commit(ingest: OpenIngest | undefined, blob: { digest: string; size: number; labels: Labels }): Promise<void>;
  /** Forgets the ingest and what it has on disk. */
  discard(): Promise<void>;
  /** Notes when the ingest was written last. */
  touch(ingest: OpenIngest, micros: number): Promise<void>;
  /** Notes that so many bytes of the ingest are on disk: from there it is resumed after a power cut. */
  synced(ingest: OpenIngest, offset: number): Promise<void>;
}

/** What a writer is opened with. */
export interface WriterState {
  readonly ref: string;
  readonly total: number;
  readonly startedAt: number;
  /** A blob of another namespace that need not be written. */
  readonly shared?: { readonly digest: string; readonly size: number };
  readonly ingest?: OpenIngest;
  /** True when what is there may not be what was written. */
  readonly isDoubtful?: boolean;
}

/** The writer of the store. */
export class IngestWriter implements ContentWriter {
  readonly #host: WriterHost;
  readonly #state: WriterState;
  #ingest: OpenIngest | undefined;
  #appender: Appender | undefined;
  #offset: number;
  #updatedAt: number;
  #digest: string | undefined;
  #isClosed = false;

  constructor(host: WriterHost, state: WriterState) {
    this.#host = host;
    this.#state = state;
    this.#ingest = state.ingest;
    this.#offset = state.shared?.size ?? state.ingest?.offset ?? 0;
    this.#updatedAt = nowMicros();
    if (state.ingest) this.#appender = this.#appenderOf(state.ingest);
  }

  get offset(): number {
    return this.#offset;
  }

  status(): WriterStatus {
    const { ref, shared, startedAt, total } = this.#state;
    return {
      ref,
      offset: this.#offset,
      total: shared?.size ?? total,
      startedAt,
      updatedAt: this.#updatedAt,
      expected: this.#ingest === undefined ? (shared?.digest ?? "") : "",
    };
  }

  digest(): string {
    if (this.#digest !== undefined) return this.#digest;
    if (this.#ingest === undefined) return this.#state.shared?.digest ?? "";
    return `sha256:${this.#ingest.hasher.copy().digest("hex")}`;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#checkOpen("write to");
    if (bytes.length === 0) return;
    if (this.#ingest === undefined) await this.#unshare(this.#offset);
    const { hasher } = this.#ingest as OpenIngest;
    const written = this.#appender?.append(bytes);
    hasher.update(bytes);
    this.#offset += bytes.length;
    this.#updatedAt = nowMicros();
    await this.#guard(written);
  }

  async truncate(size: number): Promise<void> {
    this.#checkOpen("truncate");
    if (size !== 0) throw unknown("Truncate: unsupported size");
    if (this.#ingest === undefined) {
      await this.#unshare(0);
    } else {
      const { file, path, release } = this.#ingest;
      await this.#guard(this.#appender?.settle());
      await this.#appender?.idle();
      // First: a power cut must not take what comes for what was synced before.
      await this.#guard(this.#host.synced(this.#ingest, 0));
      await this.#guard(file.truncate(0));
      this.#ingest = { path, file, release, offset: 0, hasher: new Bun.CryptoHasher("sha256") };
      this.#appender = this.#appenderOf(this.#ingest);
    }
    this.#offset = 0;
  }

  async commit(options: CommitOptions = {}): Promise<void> {
    this.#checkOpen("commit on");
    const { size = 0, expected = "", labels = {} } = options;
    const { ref } = this.#state;
    const digest = this.digest();
    try {
      checkLabels(labels, "info.Labels: ");
      if (size !== 0 && size !== this.#offset) {
        throw failedPrecondition(
          `${quote(ref)} failed size validation: ${this.#offset} != ${size}: failed precondition`,
        );
      }
      if (expected !== "" && expected !== digest) {
        if (this.#ingest === undefined)
          throw failedPrecondition(`${quote(ref)} unexpected digest: failed precondition`);
        // Bytes that a power cut has changed must not be given to the next writer, again and again.
        if (this.#state.isDoubtful) await this.truncate(0);
        throw failedPrecondition(`unexpected commit digest ${digest}, expected ${expected}: failed precondition`);
      }
      await this.#guard(this.#appender?.sync());
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#isClosed = true;
    this.#digest = digest;
    try {
      await this.#host.commit(this.#ingest, { digest, size: this.#offset, labels });
    } catch (error) {
      throw diskError(error, `commit content ${digest}`);
    } finally {
      this.#ingest?.release();
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#digest = this.digest();
    const ingest = this.#ingest;
    if (ingest === undefined) return;
    try {
      await this.#appender?.idle();
      const isSynced = await ingest.file.datasync().then(
        () => this.#appender?.isWhole ?? false,
        () => false,
      );
      await ingest.file.close();
      if (isSynced) await this.#host.synced(ingest, this.#offset);
      await this.#host.touch(ingest, this.#updatedAt);
    } catch {
      // The ingest was aborted, or the disk fails: whoever resumes it reads what is there.
    } finally {
      ingest.release();
    }
  }

  async #unshare(size: number): Promise<void> {
    this.#ingest = await this.#host.unshare(size);
    this.#appender = this.#appenderOf(this.#ingest);
    this.#offset = size;
  }

  #appenderOf(ingest: OpenIngest): Appender {
    return new Appender(ingest.file, ingest.offset, (offset) => this.#host.synced(ingest, offset));
  }

  #checkOpen(verb: string): void {
    if (this.#isClosed) throw failedPrecondition(`cannot ${verb} closed writer: failed precondition`);
  }

  /** Waits for work on the file; when the disk is full nothing of the ingest may stay. */
  async #guard(work: Promise<void> | undefined): Promise<void> {
    try {
      await work;
    } catch (error) {
      const told = diskError(error, `write ingest ${quote(this.#state.ref)}`);
      await this.close();
      if (told.code === Code.ResourceExhausted) {
        await this.#host.discard().catch((failure: unknown) => {
          throw new ContainerdError(told.code, `${told.message} (and discarding it: ${messageOf(failure)})`);
        });
      }
      throw told;
    }
  }
}
