/** Stopping a container. */

import { notImplemented } from "../../proto/errdefs.ts";
import type { Api } from "../client/api.ts";

/** How a container is stopped. */
export interface StopOptions {
  /** A name or a number; the container's own unless told. */
  readonly signal?: string;
  /** Milliseconds until it is killed; the container's own unless told. -1: never. */
  readonly timeoutMs?: number;
}

/**
 * Ends a container's task, and tells the restart monitor to leave it so. One that does not run is left as it is.
 * @returns the exit status; undefined when there was no task
 * @throws ContainerdError NotFound for a container that does not exist
 */
export async function stopContainer(
  _api: Api,
  _namespace: string,
  id: string,
  _options: StopOptions = {},
): Promise<number | undefined> {
  throw notImplemented(`stopping ${id} is not there yet`);
}
