/** A node under measurement: what docker, podman and berth have in common. */

import { existsSync, readFileSync, rmSync } from "node:fs";
import { CommandError, type Result, run } from "../../lib/command.ts";
import { allProcesses, isAlive, type ProcessInfo, readMemory, traces } from "../../lib/process.ts";
import { sweep } from "../../lib/sweep.ts";
import { waitFor } from "../../lib/wait.ts";

/** How a container is started. */
export interface ContainerOptions {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  /** Comes up again at boot. */
  readonly restart?: boolean;
  /** On the default network; without it there is none. */
  readonly network?: boolean;
  /** A health check of `true` every ten seconds. */
  readonly health?: boolean;
}

/** Programs of a node that are not containers. */
const programs = /^(?:dockerd|docker-proxy|containerd|containerd-shim.*|conmon|podman|berth|berthd|bun)$/;
/** Commands take at most this long, in milliseconds. */
const LIMIT = 600_000;

/** One node. Everything of it carries {@link token} or is below {@link dir}. */
export abstract class EdgeNode {
  /** The column of the table. */
  abstract readonly name: string;
  readonly dir: string;
  readonly token: string;

  constructor(dir: string, token: string) {
    this.dir = dir;
    this.token = token;
  }

  /** The version, for the report. */
  abstract version(): string;
  /** What a boot of the machine runs: daemons, or what starts the containers. Returns at once when they are told to. */
  abstract boot(): Promise<void>;
  /** Resolves when a client would be answered. */
  abstract ready(): Promise<void>;
  protected abstract argv(args: readonly string[]): string[];
  protected abstract env(): Record<string, string | undefined>;
  protected abstract runFlags(options: ContainerOptions): string[];
  /** Directories that a reboot empties. */
  protected abstract volatile(): readonly string[];

  /** Runs the command line of this node. @throws CommandError */
  async ask(args: readonly string[]): Promise<Result> {
    const argv = this.argv(args);
    const result = await run(argv, { timeout: LIMIT, env: this.env() });
    if (result.exitCode !== 0) throw new CommandError(argv, result);
    return result;
  }

  /** `run --rm`, to its end. @returns seconds */
  async runOnce(options: ContainerOptions): Promise<number> {
    const { ms } = await this.ask(["run", "--rm", ...this.#flags(options)]);
    return ms / 1000;
  }

  /** `run -d`. @returns seconds */
  async runDetached(options: ContainerOptions): Promise<number> {
    const { ms } = await this.ask(["run", "-d", ...this.#flags(options)]);
    return ms / 1000;
  }

  #flags(options: ContainerOptions): string[] {
    const restart = options.restart ? ["--restart", "always"] : [];
    const network = options.network ? [] : ["--network", "none"];
    const health = options.health ? ["--health-cmd", "true", "--health-interval", "10s"] : [];
    const flags = [...this.runFlags(options), "--name", options.name, ...restart, ...network, ...health];
    return [...flags, options.image, ...options.command];
  }

  async remove(names: readonly string[]): Promise<void> {
    await this.ask(["rm", "-f", ...names]);
  }

  async pull(reference: string): Promise<void> {
    await this.ask(["pull", reference]);
  }

  /** Daemons, shims, monitors and proxies; not the containers. */
  processes(): ProcessInfo[] {
    return allProcesses().filter((p) => {
      if (p.state === "Z" || !programs.test(p.comm.slice(0, 15)) || p.pid === process.pid) return false;
      const text = traces(p.pid);
      return text.includes(this.dir) || text.includes(this.token);
    });
  }

  /** Memory of all of them, in kB. */
  memory(): number {
    return this.processes().reduce((sum, { pid }) => sum + (readMemory(pid)?.pss ?? 0), 0) / 1024;
  }

  /** Bytes that each of them has had written to disks, by pid. */
  written(): Map<number, number> {
    return new Map(this.processes().map(({ pid }) => [pid, writtenBy(pid)]));
  }

  /** What a power cut does: everything that runs is gone, and what was in memory. The network stays as it was. */
  cutPower(): void {
    sweep([this.dir, this.token]);
    for (const path of this.volatile()) rmSync(path, { recursive: true, force: true });
  }
}

function writtenBy(pid: number): number {
  const path = `/proc/${pid}/io`;
  if (!existsSync(path)) return 0;
  try {
    return Number(/^write_bytes: (\d+)$/m.exec(readFileSync(path, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Waits until so many processes have this very command line. */
export async function waitForRunning(argv: readonly string[], count: number): Promise<void> {
  const text = argv.join("\0");
  const running = (): number => allProcesses().filter((p) => p.argv.join("\0") === text && isAlive(p.pid)).length;
  await waitFor(`${count} containers to run`, () => running() >= count, { timeout: 180_000, interval: 50 });
}
