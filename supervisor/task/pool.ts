/**
 * A process of our own shim that is started before there is a bundle for it (`berth shim wait`), so that a Create does
 * not wait for a program to load. There is one at most, from the moment when a client begins to make a container; one
 * that was not needed ends, so that an idle daemon has none.
 */

import { type BinaryCall, makeCall } from "./call.ts";
import type { Program } from "./program.ts";

/** A waiting process that nobody takes ends after this, in milliseconds. */
const IDLE_MS = 3_000;
/** Longest flags and identifiers of a binary call, without the daemon's own paths. */
const FLAGS_BYTES = 256;

/** The waiting process of one daemon. */
export class ShimPool {
  readonly #program: Program;
  readonly #env: Readonly<Record<string, string>>;
  #waiting: BinaryCall | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isStopped = false;

  /** @param env what the environment of every binary call has */
  constructor(program: Program, env: Readonly<Record<string, string>>) {
    this.#program = program;
    this.#env = env;
  }

  /** A container is being made: a shim may be wanted soon. */
  warm(): void {
    if (this.#isStopped) return;
    if (this.#waiting?.isRunning !== true) {
      try {
        // Its command line can become no longer than it was at first.
        const paths = (this.#env["GRPC_ADDRESS"] ?? "").length + process.execPath.length;
        const args = ["wait", "_".repeat(FLAGS_BYTES + paths)];
        this.#waiting = makeCall({ program: this.#program, args, cwd: "/", env: this.#env, input: "later" });
        this.#waiting.unref();
      } catch {
        // A Create will meet the same error, and tell it.
        return;
      }
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#drop(), IDLE_MS);
    this.#timer.unref();
  }

  /**
   * The waiting process at work for a bundle; undefined when there is none.
   * @param args flags of the binary call
   * @param input what `start` would be given on stdin
   */
  take(directory: string, args: readonly string[], input: Uint8Array | undefined): BinaryCall | undefined {
    const call = this.#waiting;
    if (call?.isRunning !== true) return undefined;
    this.#waiting = undefined;
    clearTimeout(this.#timer);
    const turn = new TextEncoder().encode(`${JSON.stringify({ directory, args })}\n`);
    call.tell(turn, input ?? new Uint8Array(0));
    return call;
  }

  /** Ends the waiting process; none is started any more. */
  stop(): void {
    this.#isStopped = true;
    this.#drop();
  }

  #drop(): void {
    clearTimeout(this.#timer);
    // An end of its input without a word tells it that it is not needed.
    this.#waiting?.tell();
    this.#waiting = undefined;
  }
}
