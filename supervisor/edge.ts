/** The rooms of an edge node, beside those of containerd's API: each is opened in one line here, and ended in reverse. */

import { AppRoom } from "./app/room.ts";
import type { DiskRoom } from "./disk/room.ts";
import { diskService } from "./grpc/disk.ts";
import { healthChecksService } from "./grpc/health-checks.ts";
import { offlineService } from "./grpc/offline.ts";
import type { GrpcServer } from "./grpc/server.ts";
import { upkeepService } from "./grpc/upkeep.ts";
import type { Family } from "./metrics/text.ts";
import { NetworkRoom } from "./network/room.ts";
import { OfflineRoom } from "./offline/room.ts";
import { openRepair } from "./repair/open.ts";
import { UpkeepRoom } from "./restart/room.ts";
import type { Rooms } from "./services.ts";
import { StatusRoom } from "./status/room.ts";
import type { Database } from "./store/database.ts";

/** What the rooms of an edge node are made of: the daemon's other rooms. */
export interface EdgeParts extends Rooms {
  readonly server: GrpcServer;
  readonly database: Database;
  readonly disk: DiskRoom;
}

/** A room of its own. */
interface EdgeRoom {
  /** What it tells Prometheus. */
  families?(): Promise<readonly Family[]> | readonly Family[];
  /** Begins to serve what it serves beside the API. */
  listen?(): Promise<void>;
  stop?(): Promise<void> | void;
}

/** The rooms of one daemon. */
export class EdgeRooms {
  readonly #rooms: readonly EdgeRoom[];
  /** Restarts and health: other rooms ask it how containers do. */
  readonly upkeep: UpkeepRoom;
  /** Images that come by themselves. */
  readonly offline: OfflineRoom;

  private constructor(upkeep: UpkeepRoom, offline: OfflineRoom, others: readonly EdgeRoom[]) {
    this.upkeep = upkeep;
    this.offline = offline;
    this.#rooms = [upkeep, ...others];
  }

  /** Opens all of them, and registers their services. Nobody can call them before the server listens. */
  static open(parts: EdgeParts): EdgeRooms {
    const upkeep = openUpkeep(parts);
    const offline = openOffline(parts);
    return new EdgeRooms(upkeep, offline, [
      // One room a line.
      openDisk(parts),
      openRepair(parts),
      offline,
      NetworkRoom.open(parts),
      openApps(parts, upkeep),
      new StatusRoom(parts, upkeep),
    ]);
  }

  /** What all of them tell Prometheus. */
  async families(): Promise<Family[]> {
    return (await Promise.all(this.#rooms.map((room) => room.families?.() ?? []))).flat();
  }

  /** Begins to serve beside the API. @throws Error when an address is taken */
  async listen(): Promise<void> {
    for (const room of this.#rooms) await room.listen?.();
  }

  async stop(): Promise<void> {
    for (const room of this.#rooms.toReversed()) await room.stop?.();
  }
}

function openDisk({
  server,
  database,
  disk,
  config,
  collector,
  images,
  snapshots,
  tasks,
  content,
}: EdgeParts): DiskRoom {
  disk.start({
    ...{ collector, images, snapshots },
    tasks: async () => (await tasks.tasks.list()).length,
    isWriting: () => content.refs.areHeld,
  });
  server.register("berth.v1.Disk", diskService(disk, database, config.disk));
  return disk;
}

function openOffline(parts: EdgeParts): OfflineRoom {
  const offline = OfflineRoom.open(parts);
  parts.server.register("berth.v1.Images", offlineService(offline));
  return offline;
}

function openUpkeep(parts: EdgeParts): UpkeepRoom {
  const upkeep = UpkeepRoom.open(parts);
  const get = (namespace: string, id: string) => parts.containers.get(namespace, id);
  parts.server.register("berth.v1.Health", healthChecksService(upkeep.health));
  parts.server.register("berth.v1.Upkeep", upkeepService(upkeep.monitor, get));
  return upkeep;
}

function openApps({ config, log, exchange, server, tasks }: EdgeParts, { monitor }: UpkeepRoom): AppRoom {
  const { loaded } = tasks.tasks;
  const describe = (namespace: string, id: string) => monitor.describe(namespace, id);
  return AppRoom.open({
    ...{ config, log, exchange, server, loaded, describe },
    restart: (...what) => monitor.restart(...what),
  });
}
