/** The command `berth`, as a person uses it on a daemon of the tests. */

import { join } from "node:path";
import { type CommandOptions, type Result, run } from "./command.ts";
import type { Daemon } from "./daemon.ts";
import { dist } from "./paths.ts";
import { ProgramScreen } from "./screen.ts";

/** The executable that the build makes. */
export const builtBerth = join(dist, "berth");

/** `berth` on one daemon, in its namespace. */
export class Cli {
  readonly #daemon: Daemon;

  constructor(daemon: Daemon) {
    this.#daemon = daemon;
  }

  /** The environment that leads to the daemon. */
  get env(): Record<string, string | undefined> {
    const { address, namespace, fifoDir, dir, snapshotter } = this.#daemon;
    return {
      ...process.env,
      BERTH_ADDRESS: address,
      CONTAINERD_NAMESPACE: namespace,
      CONTAINERD_SNAPSHOTTER: snapshotter,
      BERTH_FIFO_DIR: fifoDir,
      TMPDIR: join(dir, "tmp"),
      NO_COLOR: "1",
    };
  }

  /** Runs it to its end. @throws CommandError with `check` */
  run(args: readonly string[], options: CommandOptions = {}): Promise<Result> {
    return run([builtBerth, ...args], { timeout: 60_000, ...options, env: { ...this.env, ...options.env } });
  }

  /** Runs it to its end, which must be a good one. @returns what it printed, trimmed @throws CommandError */
  async must(...args: string[]): Promise<string> {
    return (await this.run(args, { check: true })).stdout.trim();
  }

  /** Runs it without waiting, with pipes to its output. */
  spawn(args: readonly string[]) {
    return Bun.spawn([builtBerth, ...args], { env: this.env, stdin: "pipe", stdout: "pipe", stderr: "pipe" });
  }

  /** Runs it on a terminal. */
  screen(args: readonly string[], size?: { rows: number; cols: number }): ProgramScreen {
    return new ProgramScreen([builtBerth, ...args], { ...this.env, TERM: "xterm" }, size);
  }
}
