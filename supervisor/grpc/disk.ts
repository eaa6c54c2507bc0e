/** The Disk service: berthd's own. */

import type { DiskRoom } from "../disk/room.ts";
import { usage } from "../disk/usage.ts";
import { showWatermark, type Volume } from "../disk/volume.ts";
import type { Database } from "../store/database.ts";
import type { Handlers } from "./server.ts";

/** @param config `[disk]` */
export function diskService(
  disk: DiskRoom,
  database: Pick<Database, "get" | "reserve">,
  config: Parameters<typeof marks>[0],
): Handlers<"berth.v1.Disk"> {
  const volumes = async () => (await disk.volumes()).map((volume) => message(volume, disk));
  return {
    async Status() {
      const { bytes, isHeld } = database.reserve;
      return {
        volumes: await volumes(),
        parts: await usage(database, disk),
        ...marks(config),
        reserve: bytes,
        hasReserve: isHeld,
      };
    },
    async Evict({ dryRun, all }) {
      const evicted = dryRun ? await disk.evictable() : await disk.makeRoom(all);
      return { evicted, volumes: await volumes() };
    },
  };
}

function message(volume: Volume, disk: DiskRoom) {
  return { ...volume, paths: [...volume.paths], level: disk.levelOf(volume) };
}

function marks(config: { readonly highWatermark: Mark; readonly lowWatermark: Mark; readonly critical: Mark }) {
  return {
    highWatermark: showWatermark(config.highWatermark),
    lowWatermark: showWatermark(config.lowWatermark),
    critical: showWatermark(config.critical),
  };
}

type Mark = Parameters<typeof showWatermark>[0];
