/**
 * A log file that is renamed when it has grown enough: `NAME` to `NAME.1`, `NAME.1` to `NAME.2`, and so on. The oldest is
 * renamed first, so that a power cut between two renames leaves a gap in the numbers and nothing else.
 *
 * A write that fails (a full disk, a quota, a broken one) never stops the container: the entries are dropped, what they
 * held is counted, and the next write is tried again. A line in the log tells how much is missing there (R14).
 */

import { messageOf } from "../../../../proto/errdefs.ts";
import { lastByte, openAppend, renameIfExists, reopenAppend, sizeOf, truncate } from "../../../linux/append.ts";
import { timeNow } from "../../../linux/clock.ts";
import { ErrnoError } from "../../../linux/errno.ts";
import { close, exists, fileIdentity, pathOfOpen, removeFile, writeSome } from "../../../linux/file.ts";
import { log } from "../../../log.ts";
import { noteDropped } from "./dropped.ts";
import { type Encoding, encodings } from "./format.ts";
import { LINE_BYTES } from "./lines.ts";
import type { LogSettings } from "./settings.ts";

const MODE = 0o640;
const NEWLINE = 10;
const EAGAIN = 11;
/** How often at most, in milliseconds, losses are spoken of and noted. */
const COMPLAINT_PAUSE = 60_000;
const encoder = new TextEncoder();

/** A log that one or more streams write to. */
export class LogFile {
  readonly encoding: Encoding;
  readonly #path: string;
  readonly #settings: LogSettings;
  #fd: number;
  #size: number;
  /** The last byte in the file is no newline. */
  #midLine: boolean;
  /** Bytes of output that were lost and of which the log does not tell yet. */
  #untold = 0;
  /** The same, of which the shim's log does not tell yet, and the note beside the log. */
  #unreported = 0;
  #unnoted = 0;
  #complained = Number.NEGATIVE_INFINITY;
  #reported = Number.NEGATIVE_INFINITY;
  #error = "";

  /** @throws ErrnoError */
  constructor(path: string, settings: LogSettings) {
    this.#path = path;
    this.#settings = settings;
    this.encoding = encodings[settings.format];
    this.#fd = openAppend(path, MODE);
    try {
      this.#size = sizeOf(this.#fd);
      // A power cut or a full disk may have left half an entry: it ends before the next begins.
      this.#midLine = (lastByte(this.#fd) ?? NEWLINE) !== NEWLINE;
      this.#removeSurplus();
    } catch (error) {
      close(this.#fd);
      throw error;
    }
  }

  /**
   * Writes entries; what cannot be written is dropped and counted.
   * @param payload bytes of output that they stand for
   */
  write(encoded: Uint8Array, payload: number): void {
    // What is encoded for ourselves takes the place of what was encoded before.
    const entries = this.#untold > 0 ? encoded.slice() : encoded;
    let written = 0;
    try {
      if (this.#untold > 0) this.#tellInLog();
      if (this.#midLine && this.#settings.format !== "raw") this.#append(Uint8Array.of(NEWLINE));
      while (written < entries.length) {
        const part = entries.subarray(written, this.#fitting(entries, written));
        if (part.length === 0) this.#rotate();
        else this.#append(part, (count) => (written += count));
      }
    } catch (error) {
      this.#drop(payload - this.#payloadOf(entries, written), error);
    }
  }

  close(): void {
    try {
      if (this.#untold > 0) this.#tellInLog();
    } catch (error) {
      this.#error = messageOf(error);
    }
    this.#report(true);
    close(this.#fd);
    this.#fd = -1;
  }

  /** Bytes of output that the first bytes of entries stand for; half an entry stands for none. */
  #payloadOf(entries: Uint8Array, written: number): number {
    if (written === 0 || this.#settings.format === "raw") return written;
    return this.encoding.payload(entries.subarray(0, entries.lastIndexOf(NEWLINE, written - 1) + 1));
  }

  /** The end of the entries that still go into this file; `from` when it must be renamed before. */
  #fitting(entries: Uint8Array, from: number): number {
    const room = this.#settings.maxSize - this.#size;
    if (entries.length - from <= room) return entries.length;
    const fitting = room <= 0 ? 0 : entries.lastIndexOf(NEWLINE, from + room - 1) + 1;
    if (fitting > from) return fitting;
    const line = entries.indexOf(NEWLINE, from) + 1 || entries.length;
    if (this.#settings.format !== "raw") return this.#size > 0 ? from : line;
    // A line that has begun here ends here, unless it is endless; so does one for which no file is large enough.
    if (this.#midLine && line - from <= LINE_BYTES + room) return line;
    if (this.#size > 0 && !this.#midLine && line - from <= this.#settings.maxSize) return from;
    return room > 0 ? from + room : from;
  }

  /** @param onWritten is told what is in the file to stay, before anything is thrown. @throws ErrnoError */
  #append(bytes: Uint8Array, onWritten: (count: number) => void = () => {}): void {
    let at = 0;
    try {
      while (at < bytes.length) {
        const count = writeSome(this.#fd, at === 0 ? bytes : bytes.subarray(at));
        if (count <= 0) throw new ErrnoError(EAGAIN, "write", this.#path);
        at += count;
      }
    } catch (error) {
      at = this.#takeBack(bytes, at);
      throw error;
    } finally {
      if (at > 0) {
        this.#size += at;
        this.#midLine = bytes[at - 1] !== NEWLINE;
        onWritten(at);
      }
    }
  }

  /** Half an entry helps nobody: it is cut off again. @returns how many bytes stay */
  #takeBack(bytes: Uint8Array, written: number): number {
    if (written === 0 || this.#settings.format === "raw") return written;
    const whole = bytes.lastIndexOf(NEWLINE, written - 1) + 1;
    try {
      // Unless somebody else has written after it.
      if (sizeOf(this.#fd) !== this.#size + written) return written;
      truncate(this.#fd, this.#size + whole);
      return whole;
    } catch {
      return written;
    }
  }

  /** @throws ErrnoError; then the file is as it was, or the next call goes on */
  #rotate(): void {
    const path = this.#path;
    // Who else writes to this log, or rotates it, may have been faster.
    const there = fileIdentity(path);
    if (there !== undefined && there === fileIdentity(pathOfOpen(this.#fd))) {
      const numbered = (number: number) => (number === 0 ? path : `${path}.${number}`);
      // Up to the first number that is free: those above it need not move.
      let last = 1;
      while (last < this.#settings.maxFile - 1 && exists(numbered(last))) last++;
      if (this.#settings.maxFile === 1) removeFile(path);
      else for (let to = last; to > 0; to--) renameIfExists(numbered(to - 1), numbered(to));
    }
    this.#fd = reopenAppend(this.#fd, path, MODE);
    this.#size = sizeOf(this.#fd);
    this.#midLine = false;
  }

  /** Removes what settings that allowed more files have left. */
  #removeSurplus(): void {
    if (this.#settings.maxSize === Number.POSITIVE_INFINITY) return;
    for (let number = this.#settings.maxFile; exists(`${this.#path}.${number}`); number++) {
      removeFile(`${this.#path}.${number}`);
    }
  }

  #drop(bytes: number, error: unknown): void {
    // Bytes that are no UTF-8 count for more where they were written.
    const lost = Math.max(0, bytes);
    this.#untold += lost;
    this.#unreported += lost;
    this.#unnoted += lost;
    this.#error = messageOf(error);
    if (performance.now() - this.#complained > COMPLAINT_PAUSE) {
      this.#complained = performance.now();
      log.error(`log file ${this.#path}: ${this.#error}; output is dropped until it can be written again`);
    }
  }

  /** Says in the log what is missing there. @throws ErrnoError */
  #tellInLog(): void {
    const text = encoder.encode(`berth: ${this.#untold} bytes of output are missing here: ${this.#error}\n`);
    if (this.#midLine) this.#append(Uint8Array.of(NEWLINE));
    const entry = this.encoding.lines(text, "stderr", timeNow());
    if (this.#fitting(entry, 0) === 0) this.#rotate();
    this.#append(entry);
    this.#untold = 0;
    this.#report(false);
  }

  /** Tells the shim's log and the daemon of losses. */
  #report(isLast: boolean): void {
    // A disk that is full at every other write must not fill the shim's own log.
    if (this.#unreported === 0 || (!isLast && performance.now() - this.#reported < COMPLAINT_PAUSE)) return;
    this.#reported = performance.now();
    log.warn(`dropped ${this.#unreported} bytes that could not be written to log file ${this.#path}`);
    this.#unreported = 0;
    if (noteDropped(this.#path, this.#unnoted, this.#error)) this.#unnoted = 0;
  }
}
