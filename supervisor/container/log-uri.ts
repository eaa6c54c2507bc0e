/** Where a container's output goes: the URI that the shim is given. */

import { join } from "node:path";
import { invalidArgument } from "../../proto/errdefs.ts";
import type { LogOptions } from "./options.ts";
import type { Place } from "./place.ts";

const MAX_SIZE = 10 << 20;
const MAX_FILE = 3;
/** Of a ring in memory: two files of this size. */
const RING_SIZE = 1 << 20;
/** The directory of a container's logs. @param root of the daemon */
export function logDirectory({ root }: Pick<Place, "root">, namespace: string, id: string): string {
  return join(root, "logs", namespace, id);
}

/** The same of a ring in memory. @param state of the daemon: a tmpfs on every machine that has systemd, and on most others */
export function ringDirectory({ state }: Pick<Place, "state">, namespace: string, id: string): string {
  return join(state, "logs", namespace, id);
}

/**
 * The URI of a container's log; empty for none.
 * @throws ContainerdError InvalidArgument
 */
export function logUri(
  place: Pick<Place, "root" | "state">,
  namespace: string,
  id: string,
  options: LogOptions = { driver: "json" },
): string {
  const { driver, maxSize, maxFile, uri } = options;
  if (uri !== undefined) {
    if (!/^(file|binary):\/\/\/./.test(uri))
      throw invalidArgument(`log URI ${uri}: it is file:///... or binary:///...`);
    return uri;
  }
  if (driver === "none") return "";
  if (maxSize !== undefined && maxSize < 4096) throw invalidArgument("--log-opt max-size is 4k at least");
  if (maxFile !== undefined && maxFile < 1) throw invalidArgument("--log-opt max-file is 1 at least");
  const isRing = driver === "ring";
  const directory = isRing ? ringDirectory(place, namespace, id) : logDirectory(place, namespace, id);
  const size = maxSize ?? (isRing ? RING_SIZE : MAX_SIZE);
  const files = maxFile ?? (isRing ? 2 : MAX_FILE);
  return `file://${join(directory, `${id}.log`)}?format=${isRing ? "json" : driver}&max-size=${size}&max-file=${files}`;
}

/** The file of a log URI, and its format; undefined for what is no file. */
export function logFileOf(uri: string): { readonly path: string; readonly format: "json" | "cri" | "raw" } | undefined {
  if (!uri.startsWith("file:///")) return undefined;
  const url = new URL(uri);
  const format = url.searchParams.get("format") ?? "raw";
  if (format !== "json" && format !== "cri" && format !== "raw") return undefined;
  return { path: decodeURIComponent(url.pathname), format };
}
