/** One binary call of a shim: a process, what it is told, what it prints, and its end. */

import { deadlines } from "../../proto/deadlines.ts";
import { messageOf, unknown } from "../../proto/errdefs.ts";
import { shimEnvironment } from "../../proto/shim-environment.ts";
import type { Program } from "./program.ts";

/** What a binary call may print; the rest is dropped. */
const MAX_OUTPUT = 1 << 20;
/** What a service manager tells the daemon alone. */
const privateNames = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/** How to make a call. */
export interface CallOptions {
  readonly program: Program;
  readonly args: readonly string[];
  readonly cwd: string;
  /** Added to the daemon's own. */
  readonly env: Readonly<Record<string, string>>;
  /** What it reads on stdin; `later`: what {@link BinaryCall.tell} gives. */
  readonly input: Uint8Array | "later" | undefined;
}

/** Starts a call. @throws ContainerdError Unknown when the program cannot be executed */
export function makeCall({ program, args, cwd, env, input }: CallOptions): BinaryCall {
  const base = program.isOwn ? { ...shimEnvironment, ...process.env } : process.env;
  const inherited = Object.fromEntries(Object.entries(base).filter(([name]) => !privateNames.includes(name)));
  try {
    return new BinaryCall(
      Bun.spawn([...program.command, ...args], {
        cwd,
        env: { ...inherited, ...env },
        stdin: input === "later" ? "pipe" : (input ?? "ignore"),
        stdout: "pipe",
        stderr: "pipe",
        // A session of its own: signals to the daemon's group do not reach it.
        detached: true,
        ...(program.argv0 === undefined ? {} : { argv0: program.argv0 }),
      }),
    );
  } catch (error) {
    throw unknown(`start failed: ${messageOf(error)}`, error);
  }
}

/** What a call printed, and how it ended; without a status it was killed, or goes on. */
export interface Result {
  readonly output: Output;
  readonly complaint: string;
  readonly status: number | undefined;
}

/** Bytes that are a text in messages. */
class Output {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  toString(): string {
    return new TextDecoder().decode(this.bytes);
  }
}

/** A binary call under way. */
export class BinaryCall {
  readonly #child: Bun.Subprocess<"ignore" | "pipe" | Uint8Array, "pipe", "pipe">;

  constructor(child: Bun.Subprocess<"ignore" | "pipe" | Uint8Array, "pipe", "pipe">) {
    this.#child = child;
  }

  /** True until the process has ended. */
  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Lets the daemon end while the process lives. */
  unref(): void {
    this.#child.unref();
  }

  /** Gives the process what it waits for on stdin, and the end. A process that is gone takes nothing. */
  tell(...pieces: Uint8Array[]): void {
    const { stdin } = this.#child;
    if (typeof stdin !== "object") return;
    // Its end is seen by who reads its answer.
    const ignored = (): void => undefined;
    try {
      for (const piece of pieces) void Promise.resolve(stdin.write(piece)).catch(ignored);
      void Promise.resolve(stdin.end()).catch(ignored);
    } catch {
      ignored();
    }
  }

  /**
   * The first piece that it prints, which is all of its answer, or its end. At the limit it is killed.
   * @throws ContainerdError Unknown when it neither answered nor ended in time
   */
  async firstWords(): Promise<Result> {
    const child = this.#child;
    const late = this.#limit(deadlines.shimStart);
    try {
      const { value } = await child.stdout.getReader().read();
      if (value !== undefined) {
        // It lives on by itself now.
        child.unref();
        return { output: new Output(value), complaint: "", status: undefined };
      }
      const complaint = await collect(child.stderr);
      const status = await child.exited;
      if (late.passed) throw unknown(`start failed: no answer in ${deadlines.shimStart} ms: signal: killed`);
      return { output: new Output(new Uint8Array(0)), complaint: complaint.toString(), status: status || 1 };
    } finally {
      late.stop();
    }
  }

  /** What it printed until its end. Whoever holds its output after that is not waited for. At the limit it is killed. */
  async end(limit: number): Promise<Result> {
    const child = this.#child;
    const late = this.#limit(limit);
    try {
      const [output, complaint] = [new Collector(child.stdout), new Collector(child.stderr)];
      const status = await child.exited;
      await Promise.race([Promise.all([output.ended, complaint.ended]), Bun.sleep(HELD_MS)]);
      return {
        output: new Output(output.take()),
        complaint: new TextDecoder().decode(complaint.take()),
        status: child.signalCode === null && !late.passed ? status : undefined,
      };
    } finally {
      late.stop();
    }
  }

  #limit(ms: number): { passed: boolean; stop(): void } {
    const state = { passed: false, stop: () => clearTimeout(timer) };
    const timer = setTimeout(() => {
      state.passed = true;
      try {
        // With all that it has started.
        process.kill(-this.#child.pid, "SIGKILL");
      } catch {
        this.#child.kill("SIGKILL");
      }
    }, ms);
    return state;
  }
}

/** Output that a child of the call still holds after the call's end is waited for this long. */
const HELD_MS = 200;

async function collect(stream: ReadableStream<Uint8Array>): Promise<Output> {
  const collector = new Collector(stream);
  await collector.ended;
  return new Output(collector.take());
}

/** Keeps the first bytes of a stream; what is beyond the limit is read and dropped. */
class Collector {
  readonly ended: Promise<void>;
  readonly #stream: ReadableStream<Uint8Array>;
  #isTaken = false;
  readonly #chunks: Uint8Array[] = [];
  #length = 0;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#stream = stream;
    this.ended = this.#read();
  }

  async #read(): Promise<void> {
    try {
      for await (const chunk of this.#stream) {
        if (this.#isTaken) return;
        if (this.#length < MAX_OUTPUT) this.#chunks.push(chunk.subarray(0, MAX_OUTPUT - this.#length));
        this.#length += chunk.length;
      }
    } catch {
      // Nothing more can be read.
    }
  }

  /** What came so far; what comes later is dropped. */
  take(): Uint8Array {
    this.#isTaken = true;
    return Buffer.concat(this.#chunks);
  }
}
