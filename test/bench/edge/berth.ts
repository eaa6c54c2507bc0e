/** berthd and the command `berth`, as `npm run build` makes them. */

import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { builtBerthd, canConnect } from "../../lib/berthd.ts";
import { dist, pathWithDist } from "../../lib/paths.ts";
import { waitFor } from "../../lib/wait.ts";
import { versionOf } from "../machine.ts";
import { EdgeNode } from "./node.ts";

/** A node of berthd. */
export class BerthNode extends EdgeNode {
  override readonly name = "berth";

  constructor(dir: string, token: string) {
    super(dir, token);
    mkdirSync(dir, { recursive: true });
  }

  override version(): string {
    return versionOf([builtBerthd, "--version"]);
  }

  get #address(): string {
    return join(this.dir, "b.sock");
  }

  protected override env(): Record<string, string | undefined> {
    return { ...process.env, PATH: pathWithDist(), TMPDIR: this.dir };
  }

  protected override argv(args: readonly string[]): string[] {
    return [join(dist, "berth"), "--address", this.#address, "--namespace", this.token, ...args];
  }

  protected override runFlags(): string[] {
    return [];
  }

  protected override volatile(): readonly string[] {
    return [join(this.dir, "state"), this.#address, `${this.#address}.ttrpc`];
  }

  override async boot(): Promise<void> {
    const log = openSync(join(this.dir, "berthd.log"), "a");
    const argv = [builtBerthd, "--root", join(this.dir, "root"), "--state", join(this.dir, "state")];
    argv.push("--address", this.#address);
    try {
      Bun.spawn(argv, { stdin: "ignore", stdout: log, stderr: log, env: this.env(), detached: true }).unref();
    } finally {
      closeSync(log);
    }
  }

  override async ready(): Promise<void> {
    await waitFor("berthd to answer", () => canConnect(this.#address), { timeout: 60_000, interval: 10 });
  }
}
