/** The Images service of berth's own: images that come by themselves. */

import type { OfflineRoom, OfflineState } from "../offline/room.ts";
import type { Handlers } from "./server.ts";

export function offlineService(room: OfflineRoom): Handlers<"berth.v1.Images"> {
  return {
    Status: () => message(room.state),
    async Scan() {
      await room.scan();
      return message(room.state);
    },
  };
}

function message({ directories, files, prefetched, pulled, saved }: OfflineState) {
  return {
    directories: [...directories],
    files: files.map((file) => ({ ...file, images: [...file.images] })),
    prefetched: [...prefetched],
    pulled: byKind(pulled),
    saved: byKind(saved),
  };
}

function byKind(values: Readonly<Record<string, number>>): { kind: string; bytes: number }[] {
  return Object.entries(values).map(([kind, bytes]) => ({ kind, bytes }));
}
