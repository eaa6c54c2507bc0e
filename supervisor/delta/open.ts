/** Deltas as the daemon is configured. */

import { join } from "node:path";
import type { Config } from "../config.ts";
import { PullBytes } from "../image/pull-bytes.ts";
import type { Log } from "../log/log.ts";
import type { Images } from "../store/images.ts";
import { DeltaRoom } from "./room.ts";

/** What transfers are given of deltas, and what counts the bytes of pulls. */
export function openDeltas(config: Config, images: Images, log: Log): { deltas: DeltaRoom; bytes: PullBytes } {
  const bytes = new PullBytes();
  const deltas = new DeltaRoom({
    ...{ images, bytes, log },
    isEnabled: config.images.deltas,
    temporary: join(config.root, "delta"),
    maxBytes: config.diff.maxSize,
  });
  return { deltas, bytes };
}
