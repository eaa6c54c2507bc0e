/** One of the two daemons that are compared: its directory, its namespace, its ctr, and the events it has told. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Berthd } from "../lib/berthd.ts";
import { type CommandOptions, type Result, run } from "../lib/command.ts";
import { Daemon } from "../lib/daemon.ts";
import { type ContainerdEvent, EventCollector } from "../lib/events.ts";
import { pathWithDist } from "../lib/paths.ts";
import { waitFor } from "../lib/wait.ts";

/** What a side runs. */
export type Kind = "containerd" | "berthd";

/** How a side is made. */
export interface SideOptions {
  readonly kind: Kind;
  /** `a` or `b`: one letter, so that paths and namespaces of both sides are equally long. */
  readonly letter: string;
  /** The directory of the run. */
  readonly dir: string;
  /** Part of the namespace's name. */
  readonly token: string;
  /** Where ctr, containerd and its shims of the version are. */
  readonly bin: string;
  /** Where the daemon and its shims are when they are of another version than ctr. */
  readonly server?: string;
}

/** A daemon, and ctr of the version to talk to it. */
export class Side {
  readonly kind: Kind;
  readonly letter: string;
  readonly daemon: Daemon;
  /** Files that a script makes for ctr to read or write. */
  readonly files: string;
  readonly #ctr: string;
  readonly #env: Record<string, string | undefined>;
  readonly #events: EventCollector;
  #taken = 0;
  #fences = 0;

  constructor(options: SideOptions) {
    const { kind, letter, dir, token, bin, server = bin } = options;
    this.kind = kind;
    this.letter = letter;
    const path = `${bin}:${pathWithDist()}`;
    const Chosen = kind === "berthd" ? Berthd : Daemon;
    this.daemon = new Chosen(join(dir, letter), `${token}-${letter}`, {
      env: { PATH: `${server}:${path}` },
    });
    this.files = join(this.daemon.dir, "files");
    mkdirSync(this.files, { recursive: true });
    this.#ctr = join(bin, "ctr");
    this.#env = { ...process.env, PATH: path };
    this.#events = new EventCollector(this.daemon);
  }

  get namespace(): string {
    return this.daemon.namespace;
  }

  /** A file of the side's own. */
  file(name: string): string {
    return join(this.files, name);
  }

  async start(): Promise<void> {
    await this.daemon.start();
    await this.ctr(["namespaces", "create", this.namespace]);
    await this.#events.start();
    this.#taken = this.#events.all().length;
  }

  async stop(): Promise<void> {
    await this.#events.stop();
    await this.daemon.stop();
  }

  /** The argument vector of a ctr call. */
  command(args: readonly string[]): string[] {
    return [this.#ctr, "--address", this.daemon.address, "--namespace", this.namespace, ...args];
  }

  /** The environment of a ctr call. */
  get env(): Record<string, string | undefined> {
    return { ...this.#env, CONTAINERD_SNAPSHOTTER: this.daemon.snapshotter };
  }

  /** Runs ctr to its end. */
  ctr(args: readonly string[], options: CommandOptions = {}): Promise<Result> {
    return run(this.command(args), { timeout: 20_000, ...options, env: { ...this.env, ...options.env } });
  }

  /**
   * The events since the last call, without those of the fence: an event of ours, behind which nothing older comes.
   * @param settle how long shims are given to tell theirs, in milliseconds
   */
  async takeEvents(settle: number): Promise<ContainerdEvent[]> {
    await Bun.sleep(settle);
    const mark = `fence-${++this.#fences}`;
    await this.ctr(["namespaces", "label", this.namespace, `fence=${mark}`]);
    await waitFor("the fence", () => this.#events.all().some((event) => isFence(event, mark)), {
      timeout: 3_000,
    }).catch(() => {});
    const all = this.#events.all();
    const fresh = all.slice(this.#taken).filter((event) => !isFence(event, "fence-") && !isProbe(event));
    this.#taken = all.length;
    return fresh;
  }
}

/** What the collector's start has made; of several the last ones may come after it. Later ones would have a fence, too. */
function isProbe(event: ContainerdEvent): boolean {
  const labels = event.body["labels"] as Record<string, string> | undefined;
  return event.topic === "/namespaces/update" && labels?.["probe"] !== undefined && labels["fence"] === undefined;
}

function isFence(event: ContainerdEvent, mark: string): boolean {
  const labels = event.body["labels"] as Record<string, string> | undefined;
  const fence = labels?.["fence"];
  return event.topic === "/namespaces/update" && fence !== undefined && fence.startsWith(mark);
}
