/** Binary calls of a shim, as containerd makes them (contract 1.1): argv, environment, directory and stdin as given. */

import { builtShim } from "../paths.ts";

/** The shim under test; BERTH_TEST_SHIM names another one than the build's. */
export const shimBinary = process.env["BERTH_TEST_SHIM"] ?? builtShim;

/** One call. */
export interface BinaryCall {
  /** Without the program's name. */
  readonly argv: readonly string[];
  readonly cwd: string;
  /** The whole environment; a PATH alone unless told. */
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: Uint8Array;
  /** Limit in milliseconds, 20 s unless told: then the call is killed, and throws. */
  readonly timeout?: number;
  /** What is run in the shim's place, with the shim and its arguments behind it. */
  readonly wrapper?: readonly string[];
}

/** What a call left behind. */
export interface BinaryAnswer {
  readonly exitCode: number;
  readonly stdout: Uint8Array;
  readonly stderr: string;
  /** Until both streams had ended, in milliseconds: a process that holds one makes this long. */
  readonly ms: number;
}

/**
 * Makes a call and reads both streams to their ends, which is what containerd waits for (ST-5, ST-10).
 * @throws Error when the call or what it left running holds a stream past the limit
 */
export async function callBinary(call: BinaryCall): Promise<BinaryAnswer> {
  const begun = performance.now();
  const child = Bun.spawn([...(call.wrapper ?? []), shimBinary, ...call.argv], {
    cwd: call.cwd,
    env: { ...(call.env ?? plainEnvironment()) },
    stdin: call.stdin ?? "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const limit = call.timeout ?? 20_000;
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`${call.argv.join(" ")}: no end of stdout and stderr after ${limit} ms`));
    }, limit);
  });
  try {
    const streams = Promise.all([child.stdout.bytes(), child.stderr.text(), child.exited]);
    const [stdout, stderr, exitCode] = await Promise.race([streams, late]);
    return { exitCode, stdout, stderr, ms: performance.now() - begun };
  } finally {
    clearTimeout(timer);
  }
}

/** The least that a shim needs to find runc. */
export function plainEnvironment(): Record<string, string> {
  return { PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin" };
}
