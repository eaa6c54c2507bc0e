/** Opens the repairs of a daemon. */

import { repairService } from "../grpc/repair.ts";
import type { GrpcServer } from "../grpc/server.ts";
import { RepairRoom } from "./room.ts";
import type { RepairRooms } from "./rooms.ts";

/** A repair waits this long for layers that are on their way to disk, in milliseconds. */
const SETTLE_MS = 5000;

/** Registers the service, and begins with what is known to be damaged. */
export function openRepair(parts: RepairRooms & { readonly server: GrpcServer }): RepairRoom {
  const room = new RepairRoom(parts);
  const settled = async (): Promise<void> => {
    await Promise.race([parts.snapshots.barrier.allSettled().catch(() => undefined), Bun.sleep(SETTLE_MS)]);
  };
  parts.server.register("berth.v1.Repair", repairService(room, settled));
  room.start();
  return room;
}
