/** Removing a container and all that was made for it. */

import { notImplemented } from "../../proto/errdefs.ts";
import type { Api } from "../client/api.ts";

/** How a container is removed. */
export interface RemoveOptions {
  /** End it first. */
  readonly force?: boolean;
  /** Remove its anonymous volumes, too. */
  readonly volumes?: boolean;
}

/**
 * Removes a container with its task, snapshot, log and network.
 * @throws ContainerdError NotFound for one that does not exist, FailedPrecondition for one that runs without `force`
 */
export async function removeContainer(
  _api: Api,
  _namespace: string,
  id: string,
  _options: RemoveOptions = {},
): Promise<void> {
  throw notImplemented(`removing ${id} is not there yet`);
}
