/** A dockerd of our own on a daemon of our own: its directories, its network namespace, and docker to talk to it. */

import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Subprocess } from "bun";
import { type CommandOptions, type Result, run } from "./command.ts";
import { type Daemon, tail } from "./daemon.ts";
import { findPackaged } from "./packaged.ts";
import { isAlive } from "./process.ts";
import { waitFor } from "./wait.ts";

/** What dockerd of Debian's docker.io needs that the package does not hold. */
const packages = [
  "docker.io",
  "iptables",
  "libdevmapper1.02.1",
  "tini",
  "libip4tc2",
  "libip6tc2",
  "libxtables12",
  "libnftnl11",
  "libmnl0",
  "libnetfilter-conntrack3",
  "libnfnetlink0",
];

/** The directory of dockerd and docker, or why there is none. */
export async function findDocker(): Promise<string | Error> {
  const found = await findPackaged("dockerd", packages);
  return found instanceof Error ? found : dirname(found);
}

/** One dockerd. Its bridge and its firewall rules are in a network namespace that ends with it. */
export class Dockerd {
  readonly #daemon: Daemon;
  readonly #bin: string;
  readonly #dir: string;
  readonly #token: string;
  #child: Subprocess | undefined;

  /** @param dir made when missing; a short path, since sockets are below it */
  constructor(daemon: Daemon, bin: string, dir: string, token: string) {
    this.#daemon = daemon;
    this.#bin = bin;
    this.#dir = dir;
    this.#token = token;
    mkdirSync(join(dir, "bin"), { recursive: true });
    mkdirSync(join(dir, "config"), { recursive: true });
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get #env(): Record<string, string | undefined> {
    const path = `${this.#bin}:${process.env["PATH"]}`;
    return { ...process.env, PATH: path, TMPDIR: this.#dir, DOCKER_CONFIG: join(this.#dir, "config") };
  }

  get #address(): string {
    return `unix://${join(this.#dir, "d.sock")}`;
  }

  /** Starts dockerd and returns when it answers. @throws WaitTimeout with the end of its log */
  async start(): Promise<void> {
    const log = openSync(join(this.#dir, "dockerd.log"), "a");
    const argv = ["dockerd", "--containerd", this.#daemon.address, "--data-root", join(this.#dir, "data")];
    argv.push("--exec-root", join(this.#dir, "x"), "--pidfile", join(this.#dir, "pid"), "--host", this.#address);
    argv.push("--containerd-namespace", this.#token, "--containerd-plugins-namespace", `${this.#token}-plugins`);
    argv.push("--cgroup-parent", this.#token, "--live-restore", "--debug");
    // iptables is not in the PATH by its own name where the package was only unpacked.
    const rules = existsSync(join(this.#bin, "iptables-nft")) ? "iptables-nft" : "iptables";
    const script = `ip link set lo up; ln -sf ${join(this.#bin, rules)} ${this.#dir}/bin/iptables; PATH=${this.#dir}/bin:$PATH exec "$@"`;
    try {
      this.#child = Bun.spawn(["unshare", "--net", "--", "sh", "-c", script, "sh", ...argv], {
        stdin: "ignore",
        stdout: log,
        stderr: log,
        env: this.#env,
        detached: true,
      });
    } finally {
      closeSync(log);
    }
    const child = this.#child;
    await waitFor(
      "dockerd to answer",
      async () => {
        if (!isAlive(child.pid)) return "died";
        return (await this.docker(["version"])).exitCode === 0;
      },
      { timeout: 30_000, interval: 100 },
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${tail(this.log(), 30)}`);
    });
    if (!isAlive(child.pid)) throw new Error(`dockerd ended\n${tail(this.log(), 30)}`);
  }

  /** Ends it. With live-restore its containers go on. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined) return;
    child.kill(signal);
    const late = setTimeout(() => child.kill("SIGKILL"), 20_000);
    await child.exited;
    clearTimeout(late);
  }

  log(): string {
    const path = join(this.#dir, "dockerd.log");
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }

  /** Runs docker to its end. */
  docker(args: readonly string[], options: CommandOptions = {}): Promise<Result> {
    return run(["docker", "--host", this.#address, ...args], { timeout: 60_000, ...options, env: this.#env });
  }

  /** Runs docker, which must succeed, and answers what it prints. @throws CommandError */
  async ask(args: readonly string[]): Promise<string> {
    return (await this.docker(args, { check: true })).stdout.trim();
  }

  /** A field of `docker inspect`. */
  inspect(container: string, field: string): Promise<string> {
    return this.ask(["inspect", "--format", `{{${field}}}`, container]);
  }
}
