/**
 * `binary://` and `binary-v2://` loggers (IO-3): a program of the client's that reads the output from descriptors 3 and
 * 4, and says on 5 that it is ready. The container writes into the logger's pipes without a copy; when the logger dies,
 * we read in its place and count what is thrown away, so that the container goes on (R14).
 */

import { deadlines } from "../../../proto/deadlines.ts";
import { deadlineExceeded, failedPrecondition, messageOf, unknown } from "../../../proto/errdefs.ts";
import { close, duplicate, O, open, pipe, setNonBlocking } from "../../linux/file.ts";
import { findProgram } from "../../linux/program.ts";
import type { Reaper, Watched } from "../../linux/reaper.ts";
import { byteReader } from "../../linux/stream.ts";
import { log } from "../../log.ts";
import { Copy } from "./copy.ts";
import { stdioLimit } from "./limit.ts";
import type { Target } from "./uri.ts";

/** SIGKILL works at once, unless the kernel is stuck. */
const KILL_TIME = 2_000;

type BinaryTarget = Extract<Target, { kind: "binary" }>;

/** A running logger and the pipes to it. */
export class Logger {
  /** What the container writes to: stdout's and stderr's pipe. */
  readonly writers: readonly [number, number];
  readonly #readers: readonly [number, number];
  readonly #process: Watched;
  readonly #path: string;
  #drains: Copy[] = [];
  #closing = false;
  #released = false;

  private constructor(path: string, process: Watched, readers: [number, number], writers: [number, number]) {
    this.#path = path;
    this.#process = process;
    this.#readers = readers;
    this.writers = writers;
    void process.exited.then(({ status }) => this.#onExit(status));
  }

  /**
   * Starts a logger and waits until it is ready.
   * @throws ContainerdError when it cannot be started, or does not become ready in time
   */
  static async start(target: BinaryTarget, id: string, namespace: string, reaper: Reaper): Promise<Logger> {
    const path = findProgram(target.path);
    if (path === undefined) throw unknown(`logging binary ${target.path}: no such program, or it may not be executed`);
    const opened: number[] = [];
    const keep = (ends: [number, number]): [number, number] => {
      opened.push(...ends);
      return ends;
    };
    try {
      const [out, err, ready] = [keep(pipe()), keep(pipe()), keep(pipe())];
      const nothing = open("/dev/null", O.RDWR);
      let child: Watched;
      try {
        child = reaper.spawn({
          path,
          argv: [target.path, ...target.args],
          env: { CONTAINER_ID: id, CONTAINER_NAMESPACE: namespace },
          fds: [nothing, nothing, nothing, out[0], err[0], ready[1]],
        });
      } catch (error) {
        throw unknown(`logging binary ${target.path}: ${messageOf(error)}`, error);
      } finally {
        close(nothing);
      }
      close(ready[1]);
      opened.splice(opened.indexOf(ready[1]), 1);
      try {
        await waitUntilReady(ready[0], target);
      } catch (error) {
        child.killGroup();
        throw error;
      }
      close(ready[0]);
      opened.length = 0;
      return new Logger(target.path, child, [out[0], err[0]], [out[1], err[1]]);
    } catch (error) {
      for (const fd of opened) close(fd);
      throw error;
    }
  }

  /** Closes our write ends once the container has its own, so that the logger sees the end with the container's. */
  releaseWriters(): void {
    if (this.#released) return;
    this.#released = true;
    for (const fd of this.writers) close(fd);
  }

  /**
   * Waits until the logger has read everything and ended, at most the time of a drain; then asks it to stop, and waits
   * for that: nobody would after Delete.
   */
  async drain(): Promise<void> {
    const ended = async (limit: number) =>
      (await Promise.race([this.#process.exited, Bun.sleep(limit).then(() => undefined)])) !== undefined;
    if (await ended(deadlines.drain)) return;
    log.warn(`logging binary ${this.#path} has not ended after ${deadlines.drain / 1000} s: it is told to`);
    this.#stop();
    if (!(await ended(deadlines.loggerStop + KILL_TIME))) log.error(`logging binary ${this.#path} cannot be killed`);
  }

  /** Ends the logger: SIGTERM, and SIGKILL when it does not go (IO-3). */
  close(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#stop();
    for (const copy of this.#drains) copy.stop();
    for (const fd of this.#readers) close(fd);
  }

  #stop(): void {
    if (!this.#process.signal(15)) return;
    const timer = setTimeout(() => this.#process.killGroup(), deadlines.loggerStop);
    void this.#process.exited.then(() => clearTimeout(timer));
  }

  #onExit(status: number): void {
    if (this.#closing) return;
    // Its descriptors are closed with it; ours are the only readers now.
    this.#drains = this.#readers.map((fd) => {
      const own = duplicate(fd);
      setNonBlocking(own, true);
      let dropped = 0;
      return new Copy(own, {
        write: (bytes) => {
          if (dropped === 0) log.error(`logging binary ${this.#path} has ended (status ${status}): output is dropped`);
          dropped += bytes.length;
        },
        close: () => {
          if (dropped > 0) log.warn(`dropped ${dropped} bytes of output: logging binary ${this.#path} had ended`);
        },
      });
    });
  }
}

/** Reads the ready pipe: its end is enough for version 1, version 2 must have sent a byte. */
async function waitUntilReady(fd: number, target: BinaryTarget): Promise<void> {
  setNonBlocking(fd, true);
  const reader = byteReader(fd);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = stdioLimit();
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), limit);
  });
  try {
    const first = await Promise.race([reader.read(), late]);
    if (first === "late") {
      throw deadlineExceeded(`logging binary ${target.path} is not ready after ${limit / 1000} s`);
    }
    if (target.mustConfirm && (first.done || first.value.length === 0)) {
      throw failedPrecondition(`logging binary ${target.path} did not call ready`);
    }
  } finally {
    clearTimeout(timer);
    await reader.cancel().catch(() => {});
  }
}
