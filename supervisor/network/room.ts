/**
 * The daemon's part of the network: hooks attach and release; the daemon takes away what they could not, tells hooks and
 * commands what is configured, and tells people how it is.
 */

import { statSync } from "node:fs";
import { join } from "node:path";
import { ContainerdError, messageOf } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Config } from "../config.ts";
import type { Exchange } from "../event/exchange.ts";
import type { Log } from "../log/log.ts";
import { type Family, single } from "../metrics/text.ts";
import { readAttachments } from "./attachments.ts";
import { readNetworks } from "./cni/directory.ts";
import { readFailures } from "./failures.ts";
import { removeFiles } from "./files.ts";
import { collect, releaseDead } from "./gc.ts";
import { checkNetworks, type NetworkProblem, type NetworkStatus, networkStatus } from "./inspect.ts";
import { attachmentPath, type NetworkPaths, type NetworkSettings, networkPaths, writeSettings } from "./paths.ts";

const { TaskDelete, ContainerDelete } = containerd.events;

/** What could not be released is tried again after this long, which doubles. Milliseconds. */
const RETRY_MS = { first: 10_000, most: 3_600_000 };
/** At the daemon's end, work under way has this long. Milliseconds. */
const STOP_MS = 3_000;

/** What the room needs of others. */
export interface NetworkRoomOptions {
  readonly config: Pick<Config, "root" | "state" | "network">;
  readonly containers: { get(namespace: string, id: string): unknown };
  readonly exchange: Exchange;
  readonly log: Log;
}

/** The networks of one daemon. */
export class NetworkRoom {
  readonly paths: NetworkPaths;
  readonly #options: NetworkRoomOptions;
  readonly #controller = new AbortController();
  readonly #work = new Set<Promise<void>>();
  readonly #counts = { runs: 0, attachments: 0, leases: 0, problems: 0 };
  #retry: ReturnType<typeof setTimeout> | undefined;
  #retryMs: number = RETRY_MS.first;

  private constructor(options: NetworkRoomOptions) {
    this.#options = options;
    this.paths = networkPaths(options.config.root);
  }

  /** Tells hooks what is configured, and begins to collect what an earlier crash has left. */
  static open(options: NetworkRoomOptions): NetworkRoom {
    const { config, log } = options;
    try {
      writeSettings(config.root, settingsOf(config));
    } catch (error) {
      log.error(`the network's settings could not be written: ${messageOf(error)}`);
    }
    const room = new NetworkRoom(options);
    room.#do(() => room.#follow());
    return room;
  }

  /** Ends. */
  async stop(): Promise<void> {
    this.#controller.abort();
    clearTimeout(this.#retry);
    await Promise.race([Promise.all(this.#work), Bun.sleep(STOP_MS)]);
  }

  /** CNI's STATUS of every network, and what failed lately: for people who look, since it calls every plugin. */
  status(): Promise<NetworkStatus> {
    return networkStatus(this.paths);
  }

  /** What is not as it should be. @param deep by CNI's CHECK, too */
  check(deep = false): Promise<NetworkProblem[]> {
    return checkNetworks(this.paths, { deep });
  }

  /** What Prometheus is told. */
  families(): Family[] {
    const { runs, attachments, leases, problems } = this.#counts;
    const { paths } = this;
    return [
      single("berth_networks", "gauge", "Networks that have a file.", readNetworks(paths.confDir).networks.length),
      single("berth_network_attachments", "gauge", "Containers that are attached.", readAttachments(paths).length),
      single(
        "berth_network_failures_total",
        "counter",
        "Containers that could not be attached, since the machine was booted.",
        readFailures(paths).count,
      ),
      single("berth_network_gc_runs_total", "counter", "Collections of what crashes left.", runs),
      single("berth_network_gc_attachments_total", "counter", "Attachments that were collected.", attachments),
      single("berth_network_gc_leases_total", "counter", "Addresses that were collected.", leases),
      single("berth_network_gc_problems_total", "counter", "What could not be collected.", problems),
    ];
  }

  async #follow(): Promise<void> {
    const { exchange, log } = this.#options;
    const { signal } = this.#controller;
    while (!signal.aborted) {
      const events = exchange.subscribe([`topic=="/tasks/delete"`, `topic=="/containers/delete"`], signal);
      await this.#collect();
      try {
        for await (const { namespace, topic, event } of events) {
          const value = event?.value ?? new Uint8Array(0);
          const isTask = topic === "/tasks/delete";
          const id = isTask ? TaskDelete.decode(value).containerId : ContainerDelete.decode(value).id;
          this.#do(() => (isTask ? this.#ended(namespace ?? "", id) : this.#removed(namespace ?? "", id)));
        }
      } catch (error) {
        // Events were lost: look at everything again.
        log.warn(`networks: ${messageOf(error)}`);
      }
    }
  }

  /** A task's hook has released its network before this is told, unless there was nobody to run it. */
  async #ended(namespace: string, id: string): Promise<void> {
    const { paths } = this;
    if (statSync(attachmentPath(paths, namespace, id), { throwIfNoEntry: false }) === undefined) return;
    if (!(await releaseDead(paths, namespace, id))) return;
    this.#counts.attachments++;
    this.#options.log.info("released the network of a container that ended without its hook", { namespace, id });
  }

  /** A new container of the same id may be there already, or come and run while we wait for the lock. */
  async #removed(namespace: string, id: string): Promise<void> {
    if (this.#hasContainer(namespace, id)) return;
    // Not a moment later: files are made by whoever has a record.
    removeFiles(this.paths, namespace, id);
    await releaseDead(this.paths, namespace, id);
  }

  async #collect(): Promise<void> {
    const { log } = this.#options;
    clearTimeout(this.#retry);
    const done = await collect(this.paths, (namespace, id) => this.#hasContainer(namespace, id));
    const { attachments, leases, problems } = done;
    this.#counts.runs++;
    this.#counts.attachments += attachments;
    this.#counts.leases += leases;
    this.#counts.problems += problems.length;
    if (attachments + leases > 0) log.info("released networks that a crash had left", { attachments, leases });
    for (const problem of problems) log.warn(`networks: ${problem}`);
    if (problems.length === 0 || this.#controller.signal.aborted) {
      this.#retryMs = RETRY_MS.first;
      return;
    }
    this.#retry = setTimeout(() => this.#do(() => this.#collect()), this.#retryMs);
    this.#retry.unref();
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS.most);
  }

  #hasContainer(namespace: string, id: string): boolean {
    try {
      this.#options.containers.get(namespace, id);
      return true;
    } catch (error) {
      return !(error instanceof ContainerdError && error.code === Code.NotFound);
    }
  }

  #do(work: () => Promise<void>): void {
    const promise = work()
      .catch((error: unknown) => this.#options.log.warn(`networks: ${messageOf(error)}`))
      .finally(() => this.#work.delete(promise));
    this.#work.add(promise);
  }
}

function settingsOf({ state, network }: Pick<Config, "state" | "network">): NetworkSettings {
  const { confDir, pluginDirs, default: defaultNetwork, sharedRules, pools } = network;
  return { run: join(state, "network"), confDir, pluginDirs, defaultNetwork, sharedRules, pools };
}
