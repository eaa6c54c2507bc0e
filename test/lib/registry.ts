/** A registry on loopback: Debian's docker-registry, installed or fetched into ~/.cache once. */

import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { findPackaged } from "./packaged.ts";
import { waitFor } from "./wait.ts";

/** One registry with a directory of its own; without authentication and TLS. */
export class Registry {
  readonly #dir: string;
  #child: Subprocess | undefined;
  #port = 0;

  /** @param dir made when missing */
  constructor(dir: string) {
    this.#dir = dir;
  }

  /** `127.0.0.1:PORT`, once it runs. */
  get host(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** Starts it. Answers why it cannot be had here, or undefined when it serves. */
  async start(): Promise<string | undefined> {
    const program = await findPackaged("docker-registry", ["docker-registry"]);
    if (program instanceof Error) return program.message;
    mkdirSync(join(this.#dir, "data"), { recursive: true });
    this.#port = await freePort();
    const config = join(this.#dir, "config.yml");
    writeFileSync(
      config,
      `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${join(this.#dir, "data")}}, delete: {enabled: true}}\n` +
        `http: {addr: "${this.host}"}\n`,
    );
    this.#child = Bun.spawn([program, "serve", config], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
    await waitFor("the registry", async () => (await fetch(`http://${this.host}/v2/`)).ok);
    return undefined;
  }

  stop(): void {
    this.#child?.kill("SIGKILL");
  }
}

/** A port of loopback that nobody has. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}
