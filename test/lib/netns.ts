/**
 * Network namespaces for tests: nothing that a test makes reaches the machine's own interfaces and rules. A namespace is
 * held by a process of ours, so that it ends with it, however the test ends.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { Berthd } from "./berthd.ts";
import { type CommandOptions, type Result, run } from "./command.ts";
import type { Daemon, DaemonOptions } from "./daemon.ts";
import { waitFor } from "./wait.ts";

/** Why networks cannot be tested here; undefined when they can. */
export function whyNoNetworks(): string | undefined {
  for (const program of ["ip", "iptables", "nsenter", "unshare"]) {
    if (Bun.which(program) === null) return `${program} is not installed`;
  }
  if (Bun.which("bridge", { PATH: "/usr/lib/cni" }) === null) return "containernetworking-plugins is not installed";
  // User-Mode Linux has none: nothing can be made there.
  const { exitCode, stderr } = Bun.spawnSync(["unshare", "--net", "iptables", "-t", "nat", "-N", "TRY"]);
  return exitCode === 0 ? undefined : `iptables does not work here: ${stderr.toString().trim().split("\n")[0]}`;
}

/** A network namespace of a test. */
export class Netns {
  readonly #holder: Subprocess;

  private constructor(holder: Subprocess) {
    this.#holder = holder;
  }

  /** Makes a namespace whose loopback is up. */
  static async make(): Promise<Netns> {
    const holder = Bun.spawn(["unshare", "--net", "sleep", "infinity"], {
      ...{ stdin: "ignore", stdout: "ignore", stderr: "inherit" },
    });
    const netns = new Netns(holder);
    const own = await Bun.file("/proc/self/ns/net").exists();
    if (!own) throw new Error("there are no network namespaces");
    await waitFor("the namespace", async () => {
      const [theirs, ours] = await Promise.all([link(holder.pid), link(process.pid)]);
      return theirs !== ours;
    });
    await netns.run(["ip", "link", "set", "lo", "up"]);
    return netns;
  }

  get pid(): number {
    return this.#holder.pid;
  }

  get path(): string {
    return `/proc/${this.pid}/ns/net`;
  }

  /** An argument vector that runs in here. */
  command(argv: readonly string[]): string[] {
    return inNetns(this.path, argv);
  }

  /** Runs a program in here. @throws CommandError unless told otherwise */
  run(argv: readonly string[], options: CommandOptions = {}): Promise<Result> {
    return run(this.command(argv), { check: true, ...options });
  }

  /** Ends the holder: the namespace goes when nobody else has it. */
  async end(): Promise<void> {
    this.#holder.kill("SIGKILL");
    await this.#holder.exited;
  }
}

async function link(pid: number): Promise<string> {
  return (await run(["readlink", `/proc/${pid}/ns/net`], { check: true })).stdout;
}

/** An argument vector that runs in the network namespace of a path, and in no other namespace. */
export function inNetns(path: string, argv: readonly string[]): string[] {
  return ["nsenter", `--net=${path}`, ...argv];
}

/** Connects two namespaces: 192.0.2.1 is the outside, 192.0.2.2 the inside, whose default route leads there. */
export async function connectOutside(inside: Netns, outside: Netns): Promise<void> {
  await inside.run(["ip", "link", "add", "out0", "type", "veth", "peer", "name", "in0", "netns", String(outside.pid)]);
  await inside.run(["ip", "address", "add", "192.0.2.2/24", "dev", "out0"]);
  await inside.run(["ip", "link", "set", "out0", "up"]);
  await outside.run(["ip", "address", "add", "192.0.2.1/24", "dev", "in0"]);
  await outside.run(["ip", "link", "set", "in0", "up"]);
  await inside.run(["ip", "route", "add", "default", "via", "192.0.2.1"]);
}

/** A berthd in a network namespace of its own, with a configuration of its own. */
export class NetnsBerthd extends Berthd {
  #netns: Netns | undefined;
  #network = "";

  /** Keys of `[network]`, as TOML, beside conf_dir; for the next start. */
  set network(text: string) {
    this.#network = text;
  }

  /** Where conflists are. */
  get confDir(): string {
    return join(this.dir, "net.d");
  }

  /** The namespace, once it was started. */
  get netns(): Netns {
    if (this.#netns === undefined) throw new Error("the daemon has not been started");
    return this.#netns;
  }

  override async start(): Promise<void> {
    this.#netns ??= await Netns.make();
    mkdirSync(this.confDir, { recursive: true });
    const text = `[network]\nconf_dir = ${JSON.stringify(this.confDir)}\n${this.#network}\n`;
    writeFileSync(join(this.dir, "berth.toml"), text);
    await super.start();
  }

  override async stop(): Promise<void> {
    await super.stop();
    await this.#netns?.end();
    this.#netns = undefined;
  }

  protected override command(): string[] {
    return this.netns.command([...super.command(), "--config", join(this.dir, "berth.toml")]);
  }
}

/** For containerSuite. */
export function makeNetnsBerthd(dir: string, namespace: string, options: DaemonOptions = {}): Daemon {
  return new NetnsBerthd(dir, namespace, options);
}
