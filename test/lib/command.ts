/** Running a program to its end, with a limit. */

import { constants } from "node:os";

/** What a program left behind. */
export interface Result {
  /** The exit code, or 128 plus the signal's number. */
  exitCode: number;
  stdout: string;
  stderr: string;
  /** True when the limit passed and the program was killed. */
  timedOut: boolean;
  /** Wall time in milliseconds. */
  ms: number;
}

/** How to run a program. */
export interface CommandOptions {
  /** Limit in milliseconds, after which the program is killed; 30 s unless told. */
  timeout?: number;
  /** Written to the program's standard input; without it there is none. */
  stdin?: string;
  /** Waited for before standard input is closed: ctr loses an end of file that comes before its task runs. */
  holdStdin?: () => Promise<unknown>;
  env?: Record<string, string | undefined>;
  cwd?: string;
  /** Throw when the exit code is not 0. */
  check?: boolean;
}

/** Thrown by {@link run} with `check` when the program failed. */
export class CommandError extends Error {
  override name = "CommandError";
  readonly result: Result;
  constructor(argv: readonly string[], result: Result) {
    const why = result.timedOut ? `timed out after ${Math.round(result.ms)} ms` : `exit code ${result.exitCode}`;
    super(`${argv.join(" ")}: ${why}: ${result.stderr.trim() || result.stdout.trim()}`);
    this.result = result;
  }
}

/**
 * Runs a program and collects its output.
 * @throws CommandError with `check`, when it ends with another code than 0
 * @throws Error when the program cannot be started
 */
export async function run(argv: readonly string[], options: CommandOptions = {}): Promise<Result> {
  const begun = performance.now();
  const child = Bun.spawn([...argv], {
    stdin: options.stdin === undefined ? "ignore" : "pipe",
    stdout: "pipe",
    stderr: "pipe",
    env: options.env ?? process.env,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  let timedOut = false;
  const limit = setTimeout(() => {
    timedOut = true;
    child.kill("SIGKILL");
  }, options.timeout ?? 30_000);
  try {
    // A grandchild may hold the pipes after a kill: the limit then ends the reading too.
    const output = Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    const feeding = feed(child.stdin, options).catch((error: Error) => error);
    const exitCode = await child.exited;
    const trouble = await feeding;
    if (trouble && exitCode === 0) throw trouble;
    const cut = Bun.sleep(timedOut ? 1_000 : (options.timeout ?? 30_000)).then((): [string, string] => {
      timedOut = true;
      return ["", "output was still held open after the program ended"];
    });
    const [stdout, stderr] = await Promise.race([output, cut]);
    const result: Result = {
      exitCode: child.signalCode === null ? exitCode : 128 + signalNumber(child.signalCode),
      stdout,
      stderr,
      timedOut,
      ms: performance.now() - begun,
    };
    if (options.check && (result.exitCode !== 0 || timedOut)) throw new CommandError(argv, result);
    return result;
  } finally {
    clearTimeout(limit);
  }
}

/** Writes the program's input and ends it. */
async function feed(stdin: Bun.FileSink | undefined, options: CommandOptions): Promise<undefined> {
  if (stdin === undefined) return;
  try {
    stdin.write(options.stdin ?? "");
    await stdin.flush();
    await options.holdStdin?.();
  } finally {
    await stdin.end();
  }
}

function signalNumber(signal: NodeJS.Signals | number): number {
  return typeof signal === "number" ? signal : constants.signals[signal];
}
