/** The Repair service: berthd's own. */

import type { RepairOptions } from "../repair/repair.ts";
import type { RepairRoom } from "../repair/room.ts";
import type { Handlers } from "./server.ts";

/** @param settled resolves when layers are on disk, or it is clear that they are not */
export function repairService(
  room: RepairRoom,
  settled: NonNullable<RepairOptions["settled"]>,
): Handlers<"berth.v1.Repair"> {
  return {
    Run: ({ verify }, { signal }) => room.repair({ verify, isLive: true, signal, settled }),
  };
}
