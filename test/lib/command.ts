/** Running a program to its end, with a limit. */

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
  stdin?: string | Uint8Array | "ignore";
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
  const stdin = options.stdin ?? "ignore";
  const child = Bun.spawn([...argv], {
    stdin: stdin === "ignore" ? "ignore" : typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin,
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
    const exitCode = await child.exited;
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

const signals: Record<string, number> = { SIGHUP: 1, SIGINT: 2, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGTERM: 15 };

function signalNumber(name: string): number {
  return signals[name] ?? 0;
}
