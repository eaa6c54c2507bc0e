/** `berth top` without a container: the whole node, live. */

import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { invalidArgument, messageOf } from "../../../proto/errdefs.ts";
import type { Api } from "../../client/api.ts";
import { stopContainer } from "../../container/stop.ts";
import type { Connection } from "../connect.ts";
import { LiveScreen } from "../output/live.ts";
import { colorsFor, isTerminal } from "../output/terminal.ts";
import { ExitStatus } from "../status.ts";
import { eventLine } from "./eventline.ts";
import { busyPart, type NodeView, readNode } from "./node.ts";
import { type ServerView, serverOf } from "./server.ts";
import { StatsReader } from "./stats.ts";
import { keyOf, linesOf, type Order, orders, sorted, type TopRow, type TopView } from "./topview.ts";

/** Between two readings. */
const INTERVAL_MS = 1000;
/** Events in a burst are shown together after this time. */
const BURST_MS = 100;
/** Clock ticks of all CPUs between two looks at them, at least. */
const MIN_TICKS = 20;
/** Lines of events that are kept. */
const MAX_EVENTS = 20;

/** Shows the node until the user leaves. @param isNamespaceGiven that namespace alone @throws ContainerdError */
export async function top(connection: Connection, isNamespaceGiven: boolean, sort = "cpu"): Promise<number> {
  const order = orders.find((name) => name === sort);
  if (order === undefined) throw invalidArgument(`--sort ${sort}: it is ${orders.join(", ")}`);
  if (!isTerminal() || !process.stdin.isTTY) {
    throw new Error("the live view needs a terminal: berth stats --no-stream prints figures anywhere");
  }
  const server = await serverOf(connection.api);
  const namespace = isNamespaceGiven ? connection.namespace : undefined;
  return new Top(connection.api, namespace, server, order).run();
}

class Top {
  readonly #api: Api;
  /** Undefined: all. */
  readonly #namespace: string | undefined;
  readonly #server: ServerView;
  readonly #readers = new Map<string, StatsReader>();
  readonly #stop = new AbortController();
  readonly #colors = colorsFor();
  readonly #screen: LiveScreen;
  readonly #events: string[] = [];
  #order: Order;
  #rows: readonly TopRow[] = [];
  #selected: string | undefined;
  #message: string | undefined;
  /** The row that the user is asked about. */
  #asked: TopRow | undefined;
  #node: NodeView | undefined;
  /** Part of all CPUs. */
  #busy = 0;
  #wake: (() => void) | undefined;
  #status = 0;

  constructor(api: Api, namespace: string | undefined, server: ServerView, order: Order) {
    this.#api = api;
    this.#namespace = namespace;
    this.#server = server;
    this.#order = order;
    this.#screen = new LiveScreen({
      onKey: (key) => this.#onKey(key),
      onResize: () => this.#draw(),
      onSignal: (signal) => this.#end(signal === "SIGINT" ? 130 : signal === "SIGHUP" ? 129 : 143),
    });
  }

  async run(): Promise<number> {
    this.#screen.open();
    const listening = this.#listen();
    try {
      while (!this.#stop.signal.aborted) {
        await this.#read();
        this.#draw();
        await this.#pause();
      }
    } finally {
      this.#screen.close();
      this.#stop.abort();
      await listening;
    }
    if (this.#status !== 0) throw new ExitStatus(this.#status);
    return 0;
  }

  #end(status: number): void {
    this.#status = status;
    this.#stop.abort();
    this.#wake?.();
  }

  /** Waits for the next second, an event, or the end. */
  async #pause(): Promise<void> {
    const woken = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    await Promise.race([woken, sleep(INTERVAL_MS, undefined, { signal: this.#stop.signal }).catch(() => undefined)]);
    this.#wake = undefined;
  }

  async #listen(): Promise<void> {
    let timer: Timer | undefined;
    try {
      const { signal } = this.#stop;
      const events = this.#api.stream("containerd.services.events.v1.Events", "Subscribe", { filters: [] }, { signal });
      for await (const envelope of events) {
        if (this.#namespace !== undefined && envelope.namespace !== this.#namespace) continue;
        const line = eventLine(envelope);
        if (line === undefined) continue;
        this.#events.push(line);
        this.#events.splice(0, this.#events.length - MAX_EVENTS);
        timer ??= setTimeout(() => {
          timer = undefined;
          this.#wake?.();
        }, BURST_MS);
      }
    } catch {
      // Without events it is a second later.
    } finally {
      clearTimeout(timer);
    }
  }

  async #namespaces(): Promise<string[]> {
    if (this.#namespace !== undefined) return [this.#namespace];
    const { namespaces } = await this.#api.call("containerd.services.namespaces.v1.Namespaces", "List", {});
    return namespaces.map(({ name }) => name ?? "");
  }

  async #read(): Promise<void> {
    const names = await this.#namespaces();
    for (const known of this.#readers.keys()) if (!names.includes(known)) this.#readers.delete(known);
    const all = names.map(async (namespace) => {
      const reader = this.#readers.get(namespace) ?? new StatsReader({ api: this.#api, namespace });
      this.#readers.set(namespace, reader);
      return (await reader.read([], true)).map((row): TopRow => ({ ...row, namespace }));
    });
    this.#rows = (await Promise.all(all)).flat();
    const node = readNode(this.#server.root);
    // Events come in between the seconds: too short a time tells nothing.
    if (this.#node === undefined || node.ticks.total - this.#node.ticks.total >= MIN_TICKS) {
      this.#busy = busyPart(this.#node?.ticks, node.ticks);
      this.#node = node;
    }
    if (this.#rows.every((row) => keyOf(row) !== this.#selected)) this.#select(0);
  }

  #select(step: number): void {
    const list = sorted(this.#rows, this.#order);
    const at = list.findIndex((row) => keyOf(row) === this.#selected);
    const row = list[Math.max(0, Math.min(list.length - 1, at + step))];
    this.#selected = row && keyOf(row);
  }

  #draw(): void {
    const { columns, rows } = this.#screen.size;
    if (this.#node === undefined) return;
    const view: TopView = {
      ...this.#node,
      host: hostname(),
      daemon: `${this.#server.isBerthd ? "berthd" : "containerd"} ${this.#server.version}`,
      now: new Date(),
      cpu: this.#busy,
      rows: this.#rows,
      order: this.#order,
      selected: this.#selected,
      events: this.#events,
      message: this.#message,
    };
    this.#screen.draw(linesOf(view, columns, rows, this.#colors));
  }

  #onKey(key: string): void {
    if (this.#asked !== undefined) {
      const row = this.#asked;
      this.#asked = undefined;
      this.#message = undefined;
      if (key === "y" || key === "Y") this.#stopRow(row);
    } else {
      this.#message = undefined;
      switch (key) {
        case "q":
        case "escape":
          this.#end(0);
          return;
        case "ctrl-c":
          this.#end(130);
          return;
        case "s":
          this.#order = orders[(orders.indexOf(this.#order) + 1) % orders.length] ?? "name";
          break;
        case "up":
        case "down":
          this.#select(key === "up" ? -1 : 1);
          break;
        case "page-up":
        case "page-down":
          this.#select(key === "page-up" ? -10 : 10);
          break;
        case "home":
        case "end":
          this.#select(key === "home" ? -this.#rows.length : this.#rows.length);
          break;
        case "k":
          this.#ask();
          break;
        default:
          return;
      }
    }
    this.#draw();
  }

  #ask(): void {
    const row = this.#rows.find((one) => keyOf(one) === this.#selected);
    if (row === undefined) return;
    this.#asked = row;
    this.#message = `stop ${row.container.id} in ${row.namespace}, and keep it stopped? y/n`;
  }

  #stopRow({ namespace, container }: TopRow): void {
    this.#message = `stopping ${container.id}`;
    stopContainer(this.#api, namespace, container.id).then(
      () => this.#say(`${container.id} is stopped`),
      (error: unknown) => this.#say(`cannot stop ${container.id}: ${messageOf(error)}`),
    );
  }

  #say(message: string): void {
    this.#message = message;
    this.#wake?.();
  }
}
