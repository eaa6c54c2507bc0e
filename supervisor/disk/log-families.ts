/** What Prometheus is told of containers' logs. */

import { readFile } from "node:fs/promises";
import type { Family, Sample } from "../metrics/text.ts";
import { logFiles } from "./logs.ts";

/** The end of the name of the file in which a shim notes what a log has lost (shim/process/stdio/log/dropped.ts). */
const DROPPED = ".log.dropped";

/** Room that logs take, and output that could not be written to them. @param directories where logs are */
export async function logFamilies(directories: readonly string[]): Promise<Family[]> {
  const sizes = new Map<string, number>();
  const dropped = new Map<string, number>();
  for (const directory of directories) {
    for (const { path, bytes } of await logFiles(directory)) {
      // Logs elsewhere are a client's own.
      const parts = path.slice(directory.length + 1).split("/");
      if (parts.length !== 3) continue;
      const owner = `${parts[0]}/${parts[1]}`;
      if (path.endsWith(DROPPED)) dropped.set(owner, (dropped.get(owner) ?? 0) + (await lost(path)));
      else sizes.set(owner, (sizes.get(owner) ?? 0) + bytes);
    }
  }
  const samples = (values: ReadonlyMap<string, number>): Sample[] =>
    [...values].map(([owner, value]) => {
      const [namespace = "", container_id = ""] = owner.split("/");
      return { labels: { namespace, container_id }, value };
    });
  return [
    {
      name: "berth_container_log_bytes",
      type: "gauge",
      help: "Room that the log of a container takes, with what was rotated.",
      samples: samples(sizes),
    },
    {
      name: "berth_container_log_dropped_bytes_total",
      type: "counter",
      help: "Output of a container that could not be written to its log.",
      // A log that has lost nothing says so.
      samples: samples(new Map([...[...sizes.keys()].map((owner) => [owner, 0] as const), ...dropped])),
    },
  ];
}

async function lost(path: string): Promise<number> {
  try {
    const { bytes } = JSON.parse(await readFile(path, "utf8")) as { bytes?: unknown };
    return Number.isSafeInteger(bytes) ? (bytes as number) : 0;
  } catch {
    return 0;
  }
}
