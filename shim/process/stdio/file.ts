/**
 * Log files: of an address `file://` without settings, bytes as they come, and the way to logs with settings, whose code
 * is loaded only when an address asks for it. All streams that name one file share it, also those of execs (IO-1).
 */

import { invalidArgument, messageOf } from "../../../proto/errdefs.ts";
import { ErrnoError } from "../../linux/errno.ts";
import { close, fileType, makeDirectories, O, open, writeSome } from "../../linux/file.ts";
import { log } from "../../log.ts";
import type { StreamName } from "./log/format.ts";
import type { Sink } from "./sink.ts";

const EAGAIN = 11;
/** How often at most, in milliseconds, a log file that cannot be written is spoken of. */
const COMPLAINT_PAUSE = 60_000;

/** A file that streams write to. */
interface SharedFile {
  stream(name: StreamName): Sink;
  close(): void;
}

interface OpenFile {
  readonly query: string;
  readonly file: SharedFile;
  users: number;
}

/** By path. */
const openFiles = new Map<string, OpenFile>();

/**
 * Opens a log file, with the directories above it that are missing, for one stream.
 * @throws ContainerdError when it is no file, or is open with other settings
 * @throws ErrnoError
 */
export async function fileSink(target: { path: string; query: string }, name: StreamName): Promise<Sink> {
  const { query } = target;
  const path = target.path.replace(/\/(\.?\/)+/g, "/");
  const openLog = query === "" ? undefined : (await import("./log/sink.ts")).openLog;
  let entry = openFiles.get(path);
  if (entry === undefined) {
    makeDirectories(path.slice(0, path.lastIndexOf("/")), 0o755);
    const type = fileType(path);
    if (type === "fifo" || type === "socket") throw invalidArgument(`log file ${path} is a ${type}, not a file`);
    entry = { query, file: openLog === undefined ? new PlainFile(path) : openLog(path, query), users: 0 };
    openFiles.set(path, entry);
  }
  if (entry.query !== query) {
    throw invalidArgument(
      `log file ${path} is open with ${entry.query || "no settings"}: it cannot have ${query || "none"} too`,
    );
  }
  entry.users++;
  const { file } = entry;
  const sink = file.stream(name);
  const release = () => {
    sink.close();
    if (entry === undefined || --entry.users > 0) return;
    openFiles.delete(path);
    file.close();
  };
  return { write: (bytes) => sink.write(bytes), close: release };
}

/**
 * A log file without settings. A write that fails (a full disk, a quota) is counted and the next one tried again, so the
 * container goes on and the log resumes when there is space.
 */
class PlainFile implements SharedFile {
  readonly #path: string;
  readonly #fd: number;
  #dropped = 0;
  #complained = Number.NEGATIVE_INFINITY;
  #reported = Number.NEGATIVE_INFINITY;

  /** @throws ErrnoError */
  constructor(path: string) {
    this.#path = path;
    // Whatever lies there by now, opening it must not stop the event loop (PR-7).
    this.#fd = open(path, O.WRONLY | O.APPEND | O.CREAT | O.NONBLOCK, 0o644);
  }

  stream(): Sink {
    return { write: (bytes) => this.#write(bytes), close: () => {} };
  }

  close(): void {
    if (this.#dropped > 0) this.#report();
    close(this.#fd);
  }

  #write(bytes: Uint8Array): void {
    let at = 0;
    try {
      while (at < bytes.length) {
        const count = writeSome(this.#fd, bytes.subarray(at));
        if (count <= 0) throw new ErrnoError(EAGAIN, "write", this.#path);
        at += count;
      }
      // A disk that is full at every other write must not fill the shim's own log.
      if (this.#dropped > 0 && performance.now() - this.#reported > COMPLAINT_PAUSE) this.#report();
    } catch (error) {
      this.#dropped += bytes.length - at;
      if (performance.now() - this.#complained > COMPLAINT_PAUSE) {
        this.#complained = performance.now();
        log.error(`log file ${this.#path}: ${messageOf(error)}; output is dropped until it can be written again`);
      }
    }
  }

  #report(): void {
    log.warn(`dropped ${this.#dropped} bytes that could not be written to log file ${this.#path}`);
    this.#dropped = 0;
    this.#reported = performance.now();
  }
}
