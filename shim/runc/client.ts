/** runc's command line (contract 1.8; upstream go-runc). Each call is one process, bounded in time and output. */

import { deadlines } from "../../proto/deadlines.ts";
import { close, memoryFile, O, open, position, readInto, rewind } from "../linux/file.ts";
import { isInitramfs } from "../linux/initramfs.ts";
import { findProgram } from "../linux/program.ts";
import type { Capture, Exit, Reaper, Watched } from "../linux/reaper.ts";
import { lastLogError, lastPrinted, RuncError } from "./error.ts";
import { removeRest } from "./rest.ts";

/** Where runc is and how it is called for all containers of one Create. */
export interface RuncConfig {
  /** Program name or absolute path (Options.binary_name). */
  readonly binary: string;
  /** `--root`: Options.root or the default, and the namespace. */
  readonly root: string;
  readonly systemdCgroup: boolean;
}

/** How one call is made. */
interface Call {
  /** Descriptors 0, 1 and 2 of runc, which become the container's; without them output is collected. */
  readonly stdio?: readonly number[];
  /** Content of stdin. */
  readonly input?: Uint8Array;
  /** File for runc's own log in JSON; without it runc's stderr is all that is known of a failure. */
  readonly log?: string;
  /** Milliseconds until runc is killed. */
  readonly limit?: number;
  /** Aborted when the request is given up: runc is killed. */
  readonly signal?: AbortSignal;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** What a runc that succeeded printed. */
interface Result {
  readonly output: string;
}

/** More output than this is not a program speaking to us but rubbish; it is cut. */
const OUTPUT_LIMIT = 4 << 20;

const decoder = new TextDecoder();

/** Calls runc. Every method throws RuncError when runc fails, cannot be started, or does not end in time. */
export class Runc {
  readonly config: RuncConfig;
  readonly #reaper: Reaper;

  constructor(config: RuncConfig, reaper: Reaper) {
    this.config = config;
    this.#reaper = reaper;
  }

  /** `runc create`: the container's init waits, its pid is in `pidFile`. */
  async create(
    id: string,
    options: {
      bundle: string;
      pidFile: string;
      log: string;
      consoleSocket: string | undefined;
      noPivot: boolean;
      noNewKeyring: boolean;
      stdio: readonly number[] | undefined;
      signal: AbortSignal;
    },
  ): Promise<void> {
    const args = ["create", "--bundle", options.bundle, "--pid-file", options.pidFile];
    if (options.noPivot || isInitramfs()) args.push("--no-pivot");
    if (options.noNewKeyring) args.push("--no-new-keyring");
    if (options.consoleSocket !== undefined) args.push("--console-socket", options.consoleSocket);
    await this.#run([...args, id], {
      ...(options.stdio === undefined ? {} : { stdio: options.stdio }),
      log: options.log,
      limit: deadlines.runcStart,
      signal: options.signal,
    });
  }

  /** `runc restore`: like create and start in one, from a checkpoint (CP-3). */
  async restore(
    id: string,
    options: {
      bundle: string;
      pidFile: string;
      log: string;
      imagePath: string;
      workPath: string;
      consoleSocket: string | undefined;
      noPivot: boolean;
      stdio: readonly number[] | undefined;
      env: Readonly<Record<string, string>>;
    },
  ): Promise<void> {
    const args = ["restore", "--image-path", options.imagePath, "--work-path", options.workPath];
    args.push("--detach", "--no-subreaper", "--bundle", options.bundle, "--pid-file", options.pidFile);
    if (options.noPivot || isInitramfs()) args.push("--no-pivot");
    if (options.consoleSocket !== undefined) args.push("--console-socket", options.consoleSocket);
    await this.#run([...args, id], {
      ...(options.stdio === undefined ? {} : { stdio: options.stdio }),
      log: options.log,
      env: options.env,
      limit: deadlines.runcStart,
    });
  }

  /** `runc start`. */
  async start(id: string): Promise<void> {
    await this.#run(["start", id], { limit: deadlines.runcStart });
  }

  /** `runc exec --detach`: the process runs, its pid is in `pidFile` (T-STA-3). */
  async exec(
    id: string,
    options: {
      /** The process's spec as JSON. */
      process: Uint8Array;
      pidFile: string;
      consoleSocket: string | undefined;
      stdio: readonly number[] | undefined;
      signal: AbortSignal;
    },
  ): Promise<void> {
    // Execs run side by side, so each has a spec and a log of its own: in memory, named through our descriptors.
    const [spec, log] = [memoryFile(options.process), memoryFile(undefined)];
    const named = (fd: number) => `/proc/${process.pid}/fd/${fd}`;
    const args = ["exec", "--process", named(spec), "--detach", "--pid-file", options.pidFile];
    if (options.consoleSocket !== undefined) args.push("--console-socket", options.consoleSocket);
    try {
      await this.#run([...args, id], {
        ...(options.stdio === undefined ? {} : { stdio: options.stdio }),
        log: named(log),
        limit: deadlines.runcStart,
        signal: options.signal,
      });
    } finally {
      close(spec);
      close(log);
    }
  }

  /** `runc kill`. */
  async kill(id: string, signal: number, all: boolean): Promise<void> {
    await this.#run(["kill", ...(all ? ["--all"] : []), id, String(signal)], {});
  }

  /** `runc delete`; with `force` a living container is killed first. @throws ErrnoError for what runc left and stays */
  async delete(id: string, force: boolean): Promise<void> {
    await this.#run(["delete", ...(force ? ["--force"] : []), id], {});
    removeRest(this.config.root, id);
  }

  /** `runc ps`: the pids of the container's processes. */
  async ps(id: string): Promise<number[]> {
    const { output } = await this.#run(["ps", "--format", "json", id], {});
    return parsePids(output);
  }

  /** `runc pause`. */
  async pause(id: string): Promise<void> {
    await this.#run(["pause", id], {});
  }

  /** `runc resume`. */
  async resume(id: string): Promise<void> {
    await this.#run(["resume", id], {});
  }

  /** `runc update`. @param resources LinuxResources as JSON */
  async update(id: string, resources: Uint8Array): Promise<void> {
    await this.#run(["update", "--resources=-", id], { input: resources });
  }

  /** `runc checkpoint` (CP-1). */
  async checkpoint(id: string, args: readonly string[], env: Readonly<Record<string, string>>): Promise<void> {
    await this.#run(["checkpoint", ...args, id], { limit: deadlines.runcStart, env });
  }

  async #run(args: readonly string[], call: Call): Promise<Result> {
    const { config } = this;
    const name = `${config.binary} ${args[0]}`;
    const program = findProgram(config.binary);
    if (program === undefined) {
      throw new RuncError(name, `executable file not found: install runc, or set BinaryName to where it is`, "start");
    }
    const global = ["--root", config.root];
    if (call.log !== undefined) global.push("--log", call.log, "--log-format", "json");
    if (config.systemdCgroup) global.push("--systemd-cgroup");
    const opened: number[] = [];
    const keep = (fd: number) => {
      opened.push(fd);
      return fd;
    };
    try {
      let output = -1;
      let stdio = call.stdio;
      if (stdio === undefined) {
        output = keep(memoryFile(undefined, OUTPUT_LIMIT));
        const input = keep(call.input === undefined ? open("/dev/null", O.RDONLY) : memoryFile(call.input));
        stdio = [input, output, output];
      }
      let child: Watched;
      try {
        child = this.#reaper.spawn({
          path: program,
          argv: [config.binary, ...global, ...args],
          env: { ...environment(), ...call.env },
          fds: stdio,
        });
      } catch (error) {
        throw new RuncError(name, error instanceof Error ? error.message : String(error), "start");
      }
      const { exit, why } = await bounded(child, call.limit ?? deadlines.runc, call.signal);
      const text = output < 0 ? "" : collected(output);
      if (exit.status === 0 && why === undefined) return { output: text };
      const said = (call.log === undefined ? undefined : lastLogError(call.log)) ?? lastPrinted(text);
      throw new RuncError(name, why ?? said ?? `exited with status ${exit.status} and said nothing`, why ?? "failed");
    } finally {
      for (const fd of opened) close(fd);
    }
  }

  /** Begins to keep exits of processes that runc leaves to us. */
  capture(): Capture {
    return this.#reaper.capture();
  }
}

/** Waits for a child; past the limit, or when the caller gave up, its process group is killed. */
async function bounded(
  child: Watched,
  limit: number,
  signal: AbortSignal | undefined,
): Promise<{ exit: Exit; why: "timeout" | "canceled" | undefined }> {
  let why: "timeout" | "canceled" | undefined;
  const timer = setTimeout(() => {
    why = "timeout";
    child.killGroup();
  }, runcLimit(limit));
  const onAbort = () => {
    why = "canceled";
    child.killGroup();
  };
  signal?.addEventListener("abort", onAbort);
  if (signal?.aborted) onAbort();
  try {
    return { exit: await child.exited, why };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** BERTH_RUNC_TIMEOUT (seconds) replaces every limit on runc, for hooks that take longer or tests that cannot wait. */
function runcLimit(limit: number): number {
  const seconds = Number(Bun.env["BERTH_RUNC_TIMEOUT"]);
  return seconds > 0 ? seconds * 1000 : limit;
}

/** Our environment without what is meant for this process only (T-CRE-3). */
function environment(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [key, value] of Object.entries(Bun.env)) {
    if (value !== undefined && key !== "NOTIFY_SOCKET" && !/^(BUN|MIMALLOC)_/.test(key)) env[key] = value;
  }
  return env;
}

/** What was printed into a memory file; the child shared its position, which tells how much. */
function collected(fd: number): string {
  const length = position(fd);
  rewind(fd);
  const bytes = new Uint8Array(length);
  readInto(fd, bytes);
  return decoder.decode(bytes);
}

/** The pids that `runc ps --format json` prints: an array, or null when there is none. */
function parsePids(output: string): number[] {
  let value: unknown;
  try {
    value = JSON.parse(output);
  } catch {
    throw new RuncError("runc ps", `printed no JSON: ${JSON.stringify(output.slice(0, 80))}`, "failed");
  }
  if (value === null) return [];
  if (Array.isArray(value) && value.every((pid) => Number.isInteger(pid))) return value as number[];
  throw new RuncError("runc ps", `printed no list of pids: ${JSON.stringify(output.slice(0, 80))}`, "failed");
}
