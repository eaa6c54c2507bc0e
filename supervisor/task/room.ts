/** The task room as the daemon wires it: tasks, the socket for their events, sandboxes. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { ContainerdError } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { type Config, ttrpcAddress } from "../config.ts";
import type { Exchange } from "../event/exchange.ts";
import { clearSocket, restrictSocket } from "../host/socket.ts";
import type { Log } from "../log/log.ts";
import type { BundleRoots } from "./bundle.ts";
import { EventSocket } from "./events.ts";
import { type Any, type Caller, environmentOf, shimInfo } from "./launch.ts";
import { TaskManager } from "./manager.ts";
import { ShimPool } from "./pool.ts";
import { Programs } from "./program.ts";
import { Sandboxes } from "./sandbox.ts";
import { Warmer } from "./warmer.ts";

/** What the room needs of others. */
export interface RoomOptions {
  readonly exchange: Exchange;
  readonly containers: {
    get(namespace: string, id: string): { readonly runtime?: { readonly name?: string | null } | null };
  };
  readonly log: Log;
}

/** Tasks of one daemon, and what belongs to them. */
export class TaskRoom {
  readonly tasks: TaskManager;
  readonly sandboxes: Sandboxes;
  readonly #programs: Programs;
  readonly #socket: EventSocket;
  readonly #warmer: Warmer;

  private constructor(parts: {
    tasks: TaskManager;
    sandboxes: Sandboxes;
    programs: Programs;
    socket: EventSocket;
    warmer: Warmer;
  }) {
    this.tasks = parts.tasks;
    this.sandboxes = parts.sandboxes;
    this.#programs = parts.programs;
    this.#socket = parts.socket;
    this.#warmer = parts.warmer;
  }

  /**
   * Listens for the events of shims, and begins to look at what an earlier daemon has left.
   * @throws Error when the socket cannot be made
   */
  static async open(config: Config, { exchange, containers, log }: RoomOptions): Promise<TaskRoom> {
    const roots = makeRoots(config, "io.containerd.runtime.v2.task", 0o711);
    const address = ttrpcAddress(config);
    const configured = [...config.runtimes].filter(([, { path }]) => path !== "");
    const caller: Caller = {
      address: config.grpc.address,
      ttrpcAddress: address,
      env: {},
      debug: config.debug.level === "debug",
    };
    const programs = new Programs(new Map(configured.map(([name, { path }]) => [name, path])));
    const pool = new ShimPool(programs.own, environmentOf(caller));
    const tasks = new TaskManager({ roots, caller, programs, pool, exchange, log });
    const pods = makeRoots(config, "io.containerd.sandbox.controller.v1.shim", 0o700);
    const sandboxes = new Sandboxes({ roots: pods, caller, programs, log });
    await clearSocket(address);
    const socket = new EventSocket(address, (envelope) => {
      const kind = tasks.observe(envelope);
      const { namespace: ns, topic, event } = envelope;
      log.debug(kind === "told" ? "event dropped: told already" : "event forwarded", {
        ns,
        topic,
        type: event?.type_url,
      });
      if (kind === "missed") exchange.forwardMissed(envelope);
      else if (kind === "new") exchange.forward(envelope);
    });
    restrictSocket(address, config.ttrpc);
    tasks.load((namespace, id) => runtimeOf(containers, namespace, id));
    sandboxes.load();
    return new TaskRoom({ tasks, sandboxes, programs, socket, warmer: new Warmer(exchange, pool) });
  }

  /**
   * Asks a runtime what it is and can do.
   * @returns an encoded containerd.types.RuntimeInfo
   * @throws ContainerdError Unknown in containerd's words
   */
  async runtimeInfo(runtime: string, options: Any | undefined): Promise<Uint8Array> {
    return shimInfo(this.#programs.resolve(runtime), options);
  }

  /** Ends: shims live on, and keep their events until a daemon is there again. */
  async stop(): Promise<void> {
    this.#warmer.stop();
    await this.#socket.stop();
    this.sandboxes.close();
    await this.tasks.stop();
  }
}

function makeRoots(config: Config, directory: string, mode: number): BundleRoots {
  const roots = { root: join(config.root, directory), state: join(config.state, directory) };
  for (const path of [roots.root, roots.state]) mkdirSync(path, { recursive: true, mode });
  return roots;
}

/** The runtime of a container; undefined when there is no record of it. */
function runtimeOf(containers: RoomOptions["containers"], namespace: string, id: string): string | undefined {
  try {
    return containers.get(namespace, id).runtime?.name ?? "";
  } catch (error) {
    if (error instanceof ContainerdError && error.code === Code.NotFound) return undefined;
    throw error;
  }
}
