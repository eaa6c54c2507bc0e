/** Debian's docker.io with its own containerd, as a machine has them. */

import { closeSync, existsSync, mkdirSync, openSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { run } from "../../lib/command.ts";
import { Daemon } from "../../lib/daemon.ts";
import { findDocker } from "../../lib/docker.ts";
import { waitFor } from "../../lib/wait.ts";
import { versionOf } from "../machine.ts";
import { EdgeNode } from "./node.ts";

/** A node of dockerd and containerd. */
export class DockerNode extends EdgeNode {
  override readonly name = "docker";
  readonly #bin: string;

  private constructor(dir: string, token: string, bin: string) {
    super(dir, token);
    this.#bin = bin;
  }

  /** @returns why docker cannot be had */
  static async make(dir: string, token: string): Promise<DockerNode | Error> {
    const bin = await findDocker();
    if (bin instanceof Error) return bin;
    mkdirSync(join(dir, "bin"), { recursive: true });
    mkdirSync(join(dir, "config"), { recursive: true });
    const rules = join(bin, "iptables-nft");
    if (existsSync(rules) && Bun.which("iptables") === null) symlinkSync(rules, join(dir, "bin", "iptables"));
    return new DockerNode(dir, token, bin);
  }

  override version(): string {
    return versionOf([join(this.#bin, "dockerd"), "--version"]);
  }

  get #address(): string {
    return `unix://${join(this.dir, "d.sock")}`;
  }

  protected override env(): Record<string, string | undefined> {
    const path = `${join(this.dir, "bin")}:${this.#bin}:${process.env["PATH"]}`;
    return { ...process.env, PATH: path, TMPDIR: this.dir, DOCKER_CONFIG: join(this.dir, "config") };
  }

  protected override argv(args: readonly string[]): string[] {
    return [join(this.#bin, "docker"), "--host", this.#address, ...args];
  }

  protected override runFlags(): string[] {
    return [];
  }

  protected override volatile(): readonly string[] {
    return [join(this.dir, "c/state"), join(this.dir, "x"), join(this.dir, "pid"), join(this.dir, "d.sock")];
  }

  override async boot(): Promise<void> {
    const containerd = new Daemon(join(this.dir, "c"), this.token);
    await containerd.start();
    const log = openSync(join(this.dir, "dockerd.log"), "a");
    const argv = ["dockerd", "--containerd", containerd.address, "--data-root", join(this.dir, "data")];
    argv.push("--exec-root", join(this.dir, "x"), "--pidfile", join(this.dir, "pid"), "--host", this.#address);
    argv.push("--containerd-namespace", this.token, "--containerd-plugins-namespace", `${this.token}-plugins`);
    argv.push("--cgroup-parent", this.token);
    try {
      Bun.spawn(argv, { stdin: "ignore", stdout: log, stderr: log, env: this.env(), detached: true }).unref();
    } finally {
      closeSync(log);
    }
  }

  override async ready(): Promise<void> {
    const answers = async () => (await run(this.argv(["version"]), { env: this.env() })).exitCode === 0;
    await waitFor("dockerd to answer", answers, { timeout: 60_000, interval: 50 });
  }
}
