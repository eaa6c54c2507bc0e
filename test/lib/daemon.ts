/** A containerd of our own: its directories, its sockets, its log, and ctr to talk to it. */

import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { type CommandOptions, type Result, run } from "./command.ts";
import { imageName, writeImageArchive } from "./image.ts";
import { pathWithDist, runtime } from "./paths.ts";
import { isAlive } from "./process.ts";
import { waitFor } from "./wait.ts";

/** Plugins that would cost time, need the network, or touch directories that are not ours. */
const disabledPlugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
  "io.containerd.podsandbox.controller.v1.podsandbox",
  "io.containerd.sandbox.controller.v1.podsandbox",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.nri.v1.nri",
  "io.containerd.monitor.container.v1.restart",
  "io.containerd.internal.v1.restart",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs",
];

/** How to make a {@link Daemon}. */
export interface DaemonOptions {
  /** Added to the end of config.toml. */
  config?: string;
  /** Added to the daemon's environment, which its shims inherit. */
  env?: Record<string, string>;
  /** Log at trace level: every event that shims forward is in the log, and shims get `-debug`. */
  debug?: boolean;
}

/** One private containerd. Stop it, kill it, start it again: its state stays until {@link Daemon.remove}. */
export class Daemon {
  /** Everything of this daemon is under here. */
  readonly dir: string;
  readonly namespace: string;
  readonly root: string;
  readonly state: string;
  /** Path of the gRPC socket; the ttrpc one has `.ttrpc` added. */
  readonly address: string;
  readonly logPath: string;
  /** Where ctr is told to put FIFOs. */
  readonly fifoDir: string;
  #snapshotter = "overlayfs";
  #hasProbed = false;
  readonly #env: Record<string, string | undefined>;
  #child: Subprocess | undefined;
  #execs = 0;

  /**
   * Writes the configuration; starts nothing.
   * @param dir made when missing
   * @param namespace the containerd namespace that {@link ctr} uses
   */
  constructor(dir: string, namespace: string, options: DaemonOptions = {}) {
    this.dir = dir;
    this.namespace = namespace;
    this.root = join(dir, "root");
    this.state = join(dir, "state");
    this.address = join(dir, "c.sock");
    this.logPath = join(dir, "containerd.log");
    this.fifoDir = join(dir, "fifo");
    const temporary = join(dir, "tmp");
    for (const path of [dir, this.root, this.state, this.fifoDir, temporary]) mkdirSync(path, { recursive: true });
    // TMPDIR is ours, so that a temporary file which a shim or runc forgets is seen.
    this.#env = { ...process.env, PATH: pathWithDist(), TMPDIR: temporary, ...options.env };
    this.configure(options);
  }

  /** What the daemon is called in messages. */
  protected get name(): string {
    return "containerd";
  }

  /** Writes the configuration. */
  protected configure(options: DaemonOptions): void {
    writeFileSync(
      join(this.dir, "config.toml"),
      `version = 2
root = ${JSON.stringify(this.root)}
state = ${JSON.stringify(this.state)}
disabled_plugins = ${JSON.stringify(disabledPlugins)}
[grpc]
  address = ${JSON.stringify(this.address)}
[ttrpc]
  address = ${JSON.stringify(`${this.address}.ttrpc`)}
[debug]
  level = "${options.debug ? "trace" : "info"}"
${options.config ?? ""}`,
    );
  }

  /** The argument vector that starts the daemon. */
  protected command(): string[] {
    return ["containerd", "--config", join(this.dir, "config.toml")];
  }

  /**
   * True when the daemon, which was just started, answers.
   * @param log what it has logged since its start
   */
  protected async isReady(log: string): Promise<boolean> {
    return log.includes("containerd successfully booted");
  }

  /** The daemon's pid, while it runs. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get running(): boolean {
    return this.#child !== undefined && isAlive(this.#child.pid);
  }

  /** The snapshotter that works on this directory: overlayfs, or native where overlay cannot be mounted. */
  get snapshotter(): string {
    return this.#snapshotter;
  }

  /** Starts the daemon and returns when it answers. @throws WaitTimeout with the end of its log */
  async start(): Promise<void> {
    if (this.running) throw new Error(`${this.name} runs already`);
    if (!this.#hasProbed) this.#snapshotter = await chooseSnapshotter(this.dir);
    this.#hasProbed = true;
    const before = this.log().length;
    const log = openSync(this.logPath, "a");
    try {
      this.#child = Bun.spawn(this.command(), {
        stdin: "ignore",
        stdout: log,
        stderr: log,
        env: this.#env,
        cwd: this.dir,
        detached: true,
      });
    } finally {
      closeSync(log);
    }
    const child = this.#child;
    try {
      await waitFor(
        `${this.name} to boot`,
        async () => {
          if (child.exitCode !== null || child.signalCode !== null) return "died";
          return (await this.isReady(this.log().slice(before))) && "booted";
        },
        { timeout: 30_000 },
      );
      if (child.exitCode !== null) throw new Error(`${this.name} ended with ${child.exitCode}`);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${tail(this.log(), 40)}`);
    }
  }

  /** SIGTERM, and waits for the end. Shims and containers stay. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** SIGKILL, and waits for the end. Shims and containers stay. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Ends the daemon with a signal and starts it again on the same state. */
  async restart(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    await this.#end(signal);
    await this.start();
  }

  async #end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (!child) return;
    child.kill(signal);
    const late = setTimeout(() => child.kill("SIGKILL"), 15_000);
    await child.exited;
    clearTimeout(late);
    this.#child = undefined;
  }

  /** Removes all files of a stopped daemon. */
  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Everything containerd and its shims have logged. */
  log(): string {
    return existsSync(this.logPath) ? readFileSync(this.logPath, "utf8") : "";
  }

  /** Runs ctr against this daemon, in its namespace. */
  ctr(args: readonly string[], options: CommandOptions = {}): Promise<Result> {
    return run(this.ctrCommand(args), { ...options, env: { ...this.ctrEnv(), ...options.env } });
  }

  /** The argument vector of a ctr call, for callers that spawn it themselves. */
  ctrCommand(args: readonly string[]): string[] {
    return ["ctr", "--address", this.address, "--namespace", this.namespace, ...args];
  }

  /** The environment of a ctr call. */
  ctrEnv(): Record<string, string | undefined> {
    return { ...process.env, CONTAINERD_SNAPSHOTTER: this.#snapshotter };
  }

  /** `ctr run FLAGS IMAGE ID COMMAND...` with the runtime under test. */
  run(
    id: string,
    command: readonly string[],
    flags: readonly string[] = ["--rm"],
    options?: CommandOptions,
  ): Promise<Result> {
    return this.ctr(this.runArguments(id, command, flags), options);
  }

  /** The arguments of {@link run}. */
  runArguments(id: string, command: readonly string[], flags: readonly string[]): string[] {
    return ["run", "--runtime", runtime, "--fifo-dir", this.fifoDir, ...flags, imageName, id, ...command];
  }

  /** Starts a container in the background, without stdio unless the flags say otherwise. @throws CommandError */
  async runDetached(id: string, command: readonly string[], flags: readonly string[] = ["--null-io"]): Promise<void> {
    await this.run(id, command, ["--detach", ...flags], { check: true });
  }

  /** `ctr tasks exec FLAGS ID COMMAND...`; an exec id is made up unless the flags have one. */
  exec(
    id: string,
    command: readonly string[],
    flags: readonly string[] = [],
    options?: CommandOptions,
  ): Promise<Result> {
    const named = flags.includes("--exec-id") ? [] : ["--exec-id", `e${++this.#execs}`];
    return this.ctr(["tasks", "exec", ...named, "--fifo-dir", this.fifoDir, ...flags, id, ...command], options);
  }

  /** The status that `ctr tasks ls` shows, such as RUNNING; undefined when there is no task. */
  async status(id: string): Promise<string | undefined> {
    const { stdout } = await this.ctr(["tasks", "ls"], { check: true });
    const row = stdout.split("\n").map((line) => line.trim().split(/\s+/));
    return row.find((fields) => fields[0] === id)?.[2];
  }

  /** Imports the test image. @throws CommandError */
  async importImage(): Promise<void> {
    const archive = join(this.dir, "..", "image.tar");
    if (!existsSync(archive)) writeImageArchive(archive);
    await this.ctr(["image", "import", "--snapshotter", this.#snapshotter, archive], { check: true, timeout: 60_000 });
  }

  /** The directory of a container's bundle. */
  bundle(id: string): string {
    return join(this.state, "io.containerd.runtime.v2.task", this.namespace, id);
  }

  /** Path of the shim's socket for a container, by containerd's rule (SK-1). */
  socketPath(id: string): string {
    const hash = new Bun.CryptoHasher("sha256").update(`${this.address}/${this.namespace}/${id}`).digest("hex");
    return `/run/containerd/s/${hash}`;
  }
}

/** The last `lines` lines of a text. */
export function tail(text: string, lines: number): string {
  return text.trimEnd().split("\n").slice(-lines).join("\n");
}

async function chooseSnapshotter(dir: string): Promise<string> {
  const probe = join(dir, "overlay-probe");
  for (const name of ["lower", "upper", "work", "merged"]) mkdirSync(join(probe, name), { recursive: true });
  const options = `lowerdir=${probe}/lower,upperdir=${probe}/upper,workdir=${probe}/work`;
  const mounted = await run(["mount", "-t", "overlay", "overlay", "-o", options, `${probe}/merged`]);
  if (mounted.exitCode === 0) await run(["umount", `${probe}/merged`], { check: true });
  rmSync(probe, { recursive: true, force: true });
  return mounted.exitCode === 0 ? "overlayfs" : "native";
}
