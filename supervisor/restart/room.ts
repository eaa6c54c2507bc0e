/** What keeps containers as they are to be: restarts in order, health checks, and removals that no client makes. */

import { join } from "node:path";
import { LocalApi } from "../client/local.ts";
import { removeContainer } from "../container/remove.ts";
import type { GrpcServer } from "../grpc/server.ts";
import { HealthRoom } from "../health/room.ts";
import { healthFamilies } from "../metrics/health.ts";
import type { Family } from "../metrics/text.ts";
import { restoreFiles } from "../network/files.ts";
import { networkPaths } from "../network/paths.ts";
import type { Rooms } from "../services.ts";
import { AutoRemove } from "./auto-remove.ts";
import { RestartMonitor } from "./monitor.ts";

/** The room of one daemon. */
export class UpkeepRoom {
  readonly monitor: RestartMonitor;
  readonly health: HealthRoom;
  readonly #removals: AutoRemove;

  private constructor(monitor: RestartMonitor, health: HealthRoom, removals: AutoRemove) {
    this.monitor = monitor;
    this.health = health;
    this.#removals = removals;
  }

  /** Begins all of it, and registers the services. @throws Error when a directory of the state cannot be made */
  static open(rooms: Rooms & { readonly server: GrpcServer }): UpkeepRoom {
    const { config, containers, namespaces, snapshots, exchange, log, configuredOptions, server } = rooms;
    const { tasks, sandboxes } = rooms.tasks;
    const { enabled, backoffMin: min, backoffMax: max, backoffReset: reset, parallel } = config.restart;
    const monitor: RestartMonitor = new RestartMonitor({
      ...{ tasks, sandboxes, containers, namespaces, snapshots, exchange, log, configuredOptions, parallel },
      backoff: { min, max, reset },
      restoreFiles: (...what) => restoreFiles(networkPaths(config.root), ...what),
      health: (namespace, id) => health.status(namespace, id),
    });
    const label = async (namespace: string, id: string, labels: Record<string, string>): Promise<void> => {
      const paths = Object.keys(labels).map((name) => `labels.${name}`);
      await containers.update(namespace, { id, labels }, paths);
    };
    const health = new HealthRoom({
      ...{ tasks, containers, exchange, log },
      directory: join(config.state, "health"),
      parallel: config.health.parallel,
      actions: {
        label,
        get: (namespace, id) => containers.get(namespace, id),
        restart: (...what) => monitor.restart(...what),
      },
    });
    const api = new LocalApi(server);
    const removals = new AutoRemove({
      ...{ tasks, containers, namespaces, exchange, log },
      remove: (namespace, id) => removeContainer(api, namespace, id, { force: true, volumes: true }),
    });
    const room = new UpkeepRoom(monitor, health, removals);
    // Health first: it must hear of a start before the monitor asks whether others may follow.
    health.start();
    if (enabled) monitor.start();
    removals.start();
    return room;
  }

  /** What Prometheus is told. */
  families(): readonly Family[] {
    return healthFamilies(this.monitor, this.health);
  }

  /** Ends; containers go on. */
  async stop(): Promise<void> {
    this.#removals.stop();
    this.health.stop();
    await this.monitor.stop();
  }
}
