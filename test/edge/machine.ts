/**
 * A machine with berth alone, as the tests play it: a disk of its own, a network of its own, a clock of its own, and the
 * power to cut. Everything on it carries a token, so that a cut ends all of it and nothing else.
 */

import {
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { canConnect } from "../lib/berthd.ts";
import { CommandError, type Result, run } from "../lib/command.ts";
import { tail } from "../lib/daemon.ts";
import { mountLoop } from "../lib/loop.ts";
import { dist } from "../lib/paths.ts";
import { allProcesses, type ProcessInfo, readProcess, traces } from "../lib/process.ts";
import { findMounts, findProcesses, sweep } from "../lib/sweep.ts";
import { waitFor } from "../lib/wait.ts";
import type { Network } from "./netns.ts";

/** libfaketime where Debian puts it; undefined when it is not installed. */
export function findFaketime(): string | undefined {
  const name = "faketime/libfaketimeMT.so.1";
  return ["x86_64", "aarch64"].map((arch) => `/usr/lib/${arch}-linux-gnu/${name}`).find((path) => existsSync(path));
}

/** Bytes of the machine's disk. */
const DISK = "1200M";

/** What a machine is made of. */
export interface MachineOptions {
  /** Everything is below it; a short path, since sockets are. */
  readonly dir: string;
  /** Part of the name of everything that is not below it. */
  readonly token: string;
  readonly network: Network;
  /** libfaketime, by which the machine's clock is set; undefined: its clock is the host's. */
  readonly faketime?: string | undefined;
}

/** One machine. */
export class Machine {
  readonly dir: string;
  /** What survives. */
  readonly disk: string;
  readonly apps: string;
  readonly images: string;
  readonly network: Network;
  readonly #token: string;
  readonly #faketime: string | undefined;
  #boots = 0;

  constructor({ dir, token, network, faketime }: MachineOptions) {
    this.dir = dir;
    this.disk = join(dir, "disk");
    this.apps = join(this.disk, "etc/apps");
    this.images = join(this.disk, "usb");
    this.network = network;
    this.#token = token;
    this.#faketime = faketime;
  }

  /** The namespace of its containers: nobody else's. */
  get namespace(): string {
    return this.#token;
  }

  get root(): string {
    return join(this.disk, "berth");
  }

  get #state(): string {
    return join(this.dir, "run");
  }

  get address(): string {
    return join(this.dir, "b.sock");
  }

  get #config(): string {
    return join(this.disk, "etc/config.toml");
  }

  get #clock(): string {
    return join(this.dir, "clock");
  }

  get logPath(): string {
    return join(this.dir, "berthd.log");
  }

  /** Makes the disk, installs berth on it, and writes the configuration. */
  async install(configuration: string): Promise<Result> {
    mkdirSync(this.dir, { recursive: true });
    const image = join(this.dir, "disk.img");
    await run(["truncate", "-s", DISK, image], { check: true });
    await run(["mkfs.ext4", "-q", "-F", "-m", "0", image], { check: true, timeout: 60_000 });
    await this.#mount();
    for (const path of [this.apps, this.images, join(this.disk, "etc/cni")]) mkdirSync(path, { recursive: true });
    this.setClock("+0");
    writeFileSync(this.#config, configuration);
    const bin = join(this.disk, "bin");
    return run([
      join(dist, "berth"),
      "install",
      "--bin-dir",
      bin,
      "--systemd",
      "--systemd-dir",
      join(this.disk, "units"),
    ]);
  }

  /** Sets the machine's clock: `+10y` is ten years from now. Without libfaketime nothing happens. */
  setClock(offset: string): void {
    writeFileSync(this.#clock, `${offset}\n`);
  }

  get #env(): Record<string, string | undefined> {
    const clock: Record<string, string> =
      this.#faketime === undefined
        ? {}
        : {
            LD_PRELOAD: this.#faketime,
            FAKETIME_TIMESTAMP_FILE: this.#clock,
            FAKETIME_NO_CACHE: "1",
            DONT_FAKE_MONOTONIC: "1",
            FAKETIME_DONT_FAKE_MONOTONIC: "1",
          };
    const path = `${join(this.disk, "bin")}:${process.env["PATH"]}`;
    return { ...process.env, PATH: path, TMPDIR: this.dir, BERTH_CONFIG: this.#config, ...clock };
  }

  /** Starts berthd, and returns when it answers. @throws WaitTimeout with the end of its log */
  async boot(): Promise<void> {
    this.#boots++;
    const before = this.log().length;
    const log = openSync(this.logPath, "a");
    writeSync(log, `---- boot ${this.#boots}\n`);
    const argv = [
      join(this.disk, "bin/berthd"),
      "--root",
      this.root,
      "--state",
      this.#state,
      "--address",
      this.address,
    ];
    const child = Bun.spawn(this.network.within(argv), {
      stdin: "ignore",
      stdout: log,
      stderr: log,
      env: this.#env,
      cwd: this.dir,
      detached: true,
    });
    child.unref();
    await waitFor(
      "berthd to answer",
      async () => {
        if (child.exitCode !== null) return "died";
        return this.log().slice(before).includes("berthd is ready") && (await canConnect(this.address));
      },
      { timeout: 60_000, interval: 20 },
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${tail(this.log(), 30)}`);
    });
    if (child.exitCode !== null) throw new Error(`berthd ended with ${child.exitCode}\n${tail(this.log(), 30)}`);
  }

  /** Runs `berth`, in the machine's network. */
  berth(args: readonly string[], timeout = 60_000): Promise<Result> {
    const argv = [join(this.disk, "bin/berth"), "--address", this.address, "--namespace", this.#token, ...args];
    return run(this.network.within(argv), { timeout, env: this.#env, cwd: this.dir });
  }

  /** {@link berth}, which must succeed. @returns what it printed @throws CommandError */
  async ask(args: readonly string[], timeout?: number): Promise<string> {
    const result = await this.berth(args, timeout);
    if (result.exitCode !== 0) throw new CommandError(["berth", ...args], result);
    return result.stdout;
  }

  /** Runs a verb that reads the configuration and not the socket: `check`, `doctor`. */
  local(args: readonly string[]): Promise<Result> {
    const places = ["--root", this.root, "--state", this.#state, "--address", this.address];
    const argv = [join(this.disk, "bin/berth"), ...args, ...places];
    return run(this.network.within(argv), { timeout: 120_000, env: this.#env, cwd: this.dir });
  }

  /** Processes of the machine: its daemon, its shims, what runs in its containers. */
  processes(): ProcessInfo[] {
    return allProcesses().filter((p) => {
      if (p.state === "Z" || p.pid === process.pid) return false;
      const text = traces(p.pid);
      return text.includes(this.dir) || text.includes(this.#token);
    });
  }

  /** The daemon's pid; undefined when it does not run. */
  get pid(): number | undefined {
    const path = join(this.root, "berthd.lock");
    const pid = existsSync(path) ? Number(readFileSync(path, "utf8")) : 0;
    return readProcess(pid)?.argv[0]?.endsWith("/berthd") ? pid : undefined;
  }

  /** The power goes: everything that runs is gone, and what was in memory. What was not synced stays, as a kind disk does. */
  async cutPower(): Promise<void> {
    await this.#sweep();
    for (const path of [this.#state, this.address, `${this.address}.ttrpc`]) {
      rmSync(path, { recursive: true, force: true });
    }
    await this.#mount();
  }

  /** Sockets of shims, which lie outside the machine's state. */
  #sockets(): string[] {
    const bundles = join(this.#state, "io.containerd.runtime.v2.task", this.#token);
    if (!existsSync(bundles)) return [];
    const files = readdirSync(bundles).map((id) => join(bundles, id, "address"));
    return files
      .filter((path) => existsSync(path))
      .map((path) => readFileSync(path, "utf8").trim().replace("unix://", ""));
  }

  /** Ends and removes everything; the disk is not mounted any more. */
  async #sweep(): Promise<void> {
    const words = [this.dir, this.#token];
    const sockets = this.#sockets();
    for (const { pid } of findProcesses(words)) kill(pid);
    await waitFor("what ran to be gone", () => {
      const left = findProcesses(words).filter(({ state }) => state !== "Z");
      for (const { pid } of left) kill(pid);
      return left.length === 0;
    });
    const mounts = findMounts([this.dir]).filter((path) => path !== this.disk);
    for (const path of mounts.reverse()) await run(["umount", "-l", path]);
    // Not lazily: a file system that is still there behind the next mount of its disk would spoil it.
    await waitFor("the disk to be free", async () => {
      const isMounted = findMounts([this.disk]).length > 0;
      return !isMounted || (await run(["umount", this.disk])).exitCode === 0;
    });
    sweep(words);
    for (const path of sockets) rmSync(path, { force: true });
    // What the kernel knows of networks goes, too.
    const script = "nft flush ruleset; ip -o link show type bridge | cut -d: -f2 | xargs -r -n1 ip link delete";
    await run(this.network.within(["sh", "-c", script]));
  }

  async #mount(): Promise<void> {
    await mountLoop(join(this.dir, "disk.img"), this.disk, "loop,noinit_itable");
  }

  /** Told to stop, as systemd does it before a reboot; then the power goes. */
  async shutDown(): Promise<void> {
    const { pid } = this;
    if (pid !== undefined) {
      process.kill(pid, "SIGTERM");
      await waitFor("berthd to end", () => this.pid === undefined, { timeout: 20_000 });
    }
    await this.cutPower();
  }

  log(): string {
    return existsSync(this.logPath) ? readFileSync(this.logPath, "utf8") : "";
  }

  /** Copies a file to the USB stick. */
  plugIn(path: string, name: string): void {
    cpSync(path, join(this.images, `.${name}.part`));
    cpSync(join(this.images, `.${name}.part`), join(this.images, name));
    rmSync(join(this.images, `.${name}.part`));
  }

  /** Ends everything and takes the disk away. */
  async scrap(): Promise<void> {
    await this.#sweep();
    await this.network.close();
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}
