/**
 * Waiting until a descriptor can be read, without reading it: asynchronous poll of io_submit(2), told by an eventfd that
 * Bun's event loop watches. Bun's own streams read ahead into memory that is new each time, which for a log costs more than
 * the log itself.
 */

import { ErrnoError } from "./errno.ts";
import { close } from "./file.ts";
import { address, check, errno, libc } from "./libc.ts";
import { type ByteReader, byteReader } from "./stream.ts";

const isArm = process.arch === "arm64";
const SYS_eventfd2 = isArm ? 19 : 290;
const SYS_io_setup = isArm ? 0 : 206;
const SYS_io_submit = isArm ? 2 : 209;
const SYS_io_cancel = isArm ? 3 : 210;
const SYS_io_getevents = isArm ? 4 : 208;
const NONBLOCK_CLOEXEC = 0o2004000;
/** One instance waits for so many; fs.aio-max-nr counts them for the whole machine. */
const CAPACITY = 16;
const EAGAIN = 11;
const POLL = 5;
const POLLIN = 1;
const IOCB_BYTES = 64;
const EVENT_BYTES = 32;
const HAS_EVENTFD = 1;

/** A wait that can be given up. */
export interface Readiness {
  /** Resolves when the descriptor can be read, has ended, or the wait was cancelled. */
  readonly ready: Promise<void>;
  /** Gives the wait up; until `ready` has resolved the kernel holds the file open. */
  cancel(): void;
}

const instances: Instance[] = [];

/**
 * Waits until a descriptor can be read. @throws ErrnoError when the kernel cannot, or fs.aio-max-nr is used up
 */
export function waitReadable(fd: number): Readiness {
  for (const instance of instances) {
    const wait = instance.add(fd);
    if (wait !== undefined) return wait;
  }
  const instance = new Instance();
  instances.push(instance);
  const wait = instance.add(fd);
  if (wait === undefined) throw new ErrnoError(EAGAIN, "io_submit", fd);
  return wait;
}

class Instance {
  readonly #context: number;
  readonly #events: number;
  readonly #reader: ByteReader;
  readonly #waiting = new Map<number, { resolve: () => void; request: Uint8Array }>();
  readonly #results = new Uint8Array(EVENT_BYTES * CAPACITY);
  #next = 0;

  constructor() {
    const context = new BigUint64Array(1);
    check(Number(libc.syscall(SYS_io_setup, CAPACITY, address(context), 0, 0, 0)), "io_setup", "");
    this.#context = Number(context[0]);
    this.#events = check(Number(libc.syscall(SYS_eventfd2, 0, NONBLOCK_CLOEXEC, 0, 0, 0)), "eventfd", "");
    this.#reader = byteReader(this.#events);
    void this.#read();
  }

  /** @returns undefined when this instance waits for enough @throws ErrnoError */
  add(fd: number): Readiness | undefined {
    if (this.#waiting.size >= CAPACITY) return undefined;
    const id = this.#next++;
    const request = new Uint8Array(IOCB_BYTES);
    const view = new DataView(request.buffer);
    view.setUint32(0, id, true);
    view.setUint16(16, POLL, true);
    view.setUint32(20, fd, true);
    view.setUint32(24, POLLIN, true);
    view.setUint32(56, HAS_EVENTFD, true);
    view.setUint32(60, this.#events, true);
    const list = BigUint64Array.of(BigInt(address(request)));
    if (Number(libc.syscall(SYS_io_submit, this.#context, 1, address(list), 0, 0)) !== 1) {
      const error = errno();
      if (error === EAGAIN) return undefined;
      throw new ErrnoError(error, "io_submit", fd);
    }
    // The kernel knows the request by its address, so it is kept until the end.
    const ready = new Promise<void>((resolve) => this.#waiting.set(id, { resolve, request }));
    return { ready, cancel: () => this.#cancel(id) };
  }

  #cancel(id: number): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    const result = new Uint8Array(EVENT_BYTES);
    // When that fails, it has happened already; in both cases its event comes.
    libc.syscall(SYS_io_cancel, this.#context, address(waiting.request), address(result), 0, 0);
  }

  #take(): void {
    const view = new DataView(this.#results.buffer);
    const results = address(this.#results);
    const count = Number(libc.syscall(SYS_io_getevents, this.#context, 0, CAPACITY, results, 0));
    for (let at = 0; at < count * EVENT_BYTES; at += EVENT_BYTES) {
      const id = view.getUint32(at, true);
      this.#waiting.get(id)?.resolve();
      this.#waiting.delete(id);
    }
  }

  async #read(): Promise<void> {
    try {
      while (!(await this.#reader.read()).done) this.#take();
    } finally {
      close(this.#events);
    }
  }
}
