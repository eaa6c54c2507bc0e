/**
 * The binary calls of a shim, as the daemon makes them (contract 1.1 to 1.4): `start`, `delete`, `-info`. The dialect is
 * the one that every shim understands: flags, environment, options on stdin.
 */

import { deadlines } from "../../proto/deadlines.ts";
import { messageOf, unknown } from "../../proto/errdefs.ts";
import { containerd, google } from "../../proto/gen/supervisor.js";
import { shimEnvironment } from "../../proto/shim-environment.ts";
import type { Bundle } from "./bundle.ts";
import { type Endpoint, parseEndpoint } from "./endpoint.ts";
import type { Exit } from "./exit.ts";
import type { Program } from "./program.ts";

/** What shims are told about the daemon. */
export interface Caller {
  /** Path of the gRPC socket; it is part of the name of a shim's socket, so it must not change while shims live. */
  readonly address: string;
  /** Path of the socket for events. */
  readonly ttrpcAddress: string;
  /** Of the configuration, for shims alone. */
  readonly env: Readonly<Record<string, string>>;
  readonly debug: boolean;
}

export type Any = google.protobuf.Any.$Properties;

/** What a binary call may print; more ends it. */
const MAX_OUTPUT = 1 << 20;
/** What a service manager tells the daemon alone. */
const privateNames = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/**
 * Starts the shim of a bundle.
 * @returns where it listens
 * @throws ContainerdError Unknown with what the shim said
 */
export async function startShim(
  program: Program,
  caller: Caller,
  bundle: Bundle,
  options: Any | undefined,
  warn: (text: string) => void,
): Promise<Endpoint> {
  const flags = ["-id", bundle.id, ...(caller.debug ? ["-debug"] : [])];
  // berth's own `start` does nothing but start this very process: one program less to load.
  const action = program.isOwn ? "serve" : "start";
  const call = spawn(
    program,
    caller,
    bundle,
    [...flags, action],
    options && google.protobuf.Any.encode(options).finish(),
  );
  const { output, complaint, status } = await (program.isOwn ? call.firstWords() : call.end(deadlines.shimStart));
  if (status !== undefined && status !== 0) throw unknown(`start failed: ${output}${complaint}: exit status ${status}`);
  if (complaint !== "") warn(complaint);
  return parseEndpoint(output.bytes);
}

/**
 * Cleans up after a shim that is gone, in the bundle's directory. The bundle itself stays.
 * @returns how the container ended
 * @throws ContainerdError Unknown when the call failed
 */
export async function deleteShim(
  program: Program,
  caller: Caller,
  bundle: Bundle,
  warn: (text: string) => void,
): Promise<Exit> {
  const flags = ["-id", bundle.id, "-bundle", bundle.path, ...(caller.debug ? ["-debug"] : [])];
  const { output, complaint, status } = await spawn(program, caller, bundle, [...flags, "delete"], undefined).end(
    deadlines.shimCleanup,
  );
  if (status !== 0) throw unknown(`${complaint}: ${status === undefined ? "signal: killed" : `exit status ${status}`}`);
  if (complaint !== "") warn(complaint);
  const { pid, exitStatus, exitedAt } = containerd.task.v2.DeleteResponse.decode(output.bytes);
  return { pid, status: exitStatus, at: exitedAt ?? undefined };
}

/**
 * Asks a shim what it is (contract IN-1).
 * @returns an encoded containerd.types.RuntimeInfo
 * @throws ContainerdError Unknown in containerd's words
 */
export async function shimInfo(program: Program, options: Any | undefined): Promise<Uint8Array> {
  const argv = [...program.command, "-info"];
  const call = run(argv, program, ".", {}, options && google.protobuf.Any.encode(options).finish());
  const { output, complaint, status } = await call.end(deadlines.shimCleanup);
  if (status !== 0) {
    const why = status === undefined ? "signal: killed" : `exit status ${status}`;
    throw unknown(`failed to run [${argv.join(" ")}]: ${why} (stderr: ${JSON.stringify(complaint)})`);
  }
  return output.bytes;
}

function spawn(
  program: Program,
  caller: Caller,
  bundle: Bundle,
  rest: readonly string[],
  input: Uint8Array | undefined,
): BinaryCall {
  const self = process.execPath;
  const flags = ["-namespace", bundle.namespace, "-address", caller.address, "-publish-binary", self];
  const env = {
    MAX_SHIM_VERSION: "2",
    TTRPC_ADDRESS: caller.ttrpcAddress,
    GRPC_ADDRESS: caller.address,
    NAMESPACE: bundle.namespace,
    GOMAXPROCS: "2",
    ...caller.env,
  };
  return run([...program.command, ...flags, ...rest], program, bundle.path, env, input);
}

function run(
  argv: string[],
  program: Program,
  cwd: string,
  env: Readonly<Record<string, string>>,
  input: Uint8Array | undefined,
): BinaryCall {
  const base = program.isOwn ? { ...shimEnvironment, ...process.env } : process.env;
  const inherited = Object.fromEntries(Object.entries(base).filter(([name]) => !privateNames.includes(name)));
  try {
    return new BinaryCall(
      Bun.spawn(argv, {
        cwd,
        env: { ...inherited, ...env },
        stdin: input ?? "ignore",
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
interface Result {
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
class BinaryCall {
  readonly #child: Bun.Subprocess<"ignore" | Uint8Array, "pipe", "pipe">;

  constructor(child: Bun.Subprocess<"ignore" | Uint8Array, "pipe", "pipe">) {
    this.#child = child;
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
