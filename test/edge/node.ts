/** What runs on the played node, and what must be true of it after whatever happened. */

import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../lib/command.ts";
import { findPackaged } from "../lib/packaged.ts";
import { freePort } from "../lib/registry.ts";
import { waitFor } from "../lib/wait.ts";
import type { Machine } from "./machine.ts";
import type { Network } from "./netns.ts";
import { compose, PORT, writeVersion } from "./versions.ts";

/** Containers of the application. */
export const containers = ["shop-db-1", "shop-web-1", "shop-meter-1"] as const;

/** How long what must come back may take, in milliseconds: back-off, health checks and a busy machine. */
const RECOVERY_MS = 90_000;

/** A registry in the machine's network; it can be switched off and on. */
export class EdgeRegistry {
  readonly #network: Network;
  readonly #program: string;
  readonly #dir: string;
  readonly host: string;
  #child: Bun.Subprocess | undefined;

  private constructor(network: Network, dir: string, program: string, port: number) {
    this.#network = network;
    this.#program = program;
    this.#dir = dir;
    this.host = `127.0.0.1:${port}`;
  }

  /** @throws Error when there is no docker-registry here */
  static async open(network: Network, dir: string): Promise<EdgeRegistry> {
    const program = await findPackaged("docker-registry", ["docker-registry"]);
    if (program instanceof Error) throw program;
    const registry = new EdgeRegistry(network, dir, program, await freePort());
    await registry.on();
    return registry;
  }

  async on(): Promise<void> {
    mkdirSync(join(this.#dir, "data"), { recursive: true });
    const config = join(this.#dir, "config.yml");
    const storage = `{filesystem: {rootdirectory: ${join(this.#dir, "data")}}}`;
    writeFileSync(config, `version: 0.1\nlog: {level: error}\nstorage: ${storage}\nhttp: {addr: "${this.host}"}\n`);
    this.#child = Bun.spawn(this.#network.within([this.#program, "serve", config]), {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "ignore",
    });
    const [address = "", port = ""] = this.host.split(":");
    const probe = this.#network.within(["busybox", "nc", "-w", "1", address, port]);
    await waitFor("the registry", async () => (await run(probe)).exitCode === 0);
  }

  async off(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#child?.exited;
    this.#child = undefined;
  }
}

/** The node: a machine, its registry, and the version of the application that must run. */
export class EdgeNode {
  readonly machine: Machine;
  readonly registry: EdgeRegistry;
  /** What the application must say. */
  version = "v1";
  #notes = 0;

  constructor(machine: Machine, registry: EdgeRegistry) {
    this.machine = machine;
    this.registry = registry;
  }

  image(version: string): string {
    return `${this.registry.host}/shop:${version}`;
  }

  /** Puts a version of the image into the registry, as another machine would, and not into the node's store. */
  async publish(version: string): Promise<void> {
    const { machine } = this;
    const archive = writeVersion(machine.dir, this.image(version), version);
    await machine.ask(["load", "-i", archive]);
    await machine.ask(["push", this.image(version)]);
    await machine.ask(["rmi", "-f", this.image(version)]);
  }

  /** Writes the application's file, as an editor does: beside it, and then renamed. */
  write(version: string, options: { readonly wrong?: boolean } = {}): void {
    const path = join(this.machine.apps, "shop.yaml");
    writeFileSync(`${path}.new`, compose(this.image(version), { ...options, note: `Edit ${++this.#notes}` }));
    renameSync(`${path}.new`, path);
  }

  /** What the application answers on the published port. */
  async answer(): Promise<string> {
    const { network } = this.machine;
    const result = await run(network.within(["busybox", "nc", "-w", "3", "127.0.0.1", String(PORT)]), {
      timeout: 5_000,
    });
    return result.stdout.trim();
  }

  /** State and health of each container, by id. */
  async states(): Promise<Map<string, string>> {
    const text = await this.machine.ask(["ps", "--all", "--format", "json"]);
    const rows = text.split("\n").filter((line) => line !== "");
    return new Map(
      rows.map((line) => {
        const { ID, State, Health } = JSON.parse(line) as Record<string, string>;
        return [String(ID), `${State} ${Health ?? ""}`.trim()];
      }),
    );
  }

  /** The states in which everything is well. */
  #wanted(states: Map<string, string>): boolean {
    const [db, web, meter] = containers.map((id) => states.get(id));
    return db === "running healthy" && web === "running healthy" && meter === "running";
  }

  /** Resolves when what must run runs, and answers with its version. @throws WaitTimeout that tells the states */
  async isWell(): Promise<void> {
    let last = "";
    await waitFor(
      "what must run to run",
      async () => {
        const states = await this.states();
        const answer = await this.answer();
        last = `${JSON.stringify([...states])}, the application says ${JSON.stringify(answer)}`;
        return this.#wanted(states) && answer === this.version;
      },
      { timeout: RECOVERY_MS, interval: 200 },
    ).catch((error: Error) => {
      throw new Error(`${error.message}; ${last}; ${this.version} was expected\n${this.machine.log().slice(-6000)}`);
    });
  }

  /** `berth check` finds nothing. @throws Error with what it found */
  async isClean(...flags: string[]): Promise<void> {
    let words = "";
    const clean = async (): Promise<boolean> => {
      const { exitCode, stdout, stderr } = await this.machine.local(["check", ...flags]);
      words = stdout + stderr;
      return exitCode === 0;
    };
    // What a kill has left is being cleaned up when a new daemon answers already.
    await waitFor("berth check to find nothing", clean, { timeout: 30_000, interval: 500 }).catch((error: Error) => {
      throw new Error(`${error.message}\n${words}`);
    });
  }

  /** Pids of the containers' first processes, by id. */
  async pids(): Promise<Map<string, number>> {
    const found = new Map<string, number>();
    for (const id of containers) {
      const [info] = JSON.parse(await this.machine.ask(["inspect", id])) as { State: { Pid: number } }[];
      found.set(id, info?.State.Pid ?? 0);
    }
    return found;
  }

  /** True when there is a file of the application's in the watched directory. */
  get hasFile(): boolean {
    return existsSync(join(this.machine.apps, "shop.yaml"));
  }
}
