/** Starting a container that was made. */

import { notImplemented } from "../../proto/errdefs.ts";
import type { Api } from "../client/api.ts";

/** Where a task's streams are: FIFOs, or the URI of a log. Undefined: to the container's log. */
export interface TaskStdio {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/**
 * Makes a container's task and starts it; a task that has ended is deleted first. The restart monitor is told that the
 * container is to run.
 * @returns the pid of its first process
 * @throws ContainerdError; FailedPrecondition when it runs already
 */
export async function startContainer(
  _api: Api,
  _namespace: string,
  id: string,
  _stdio?: TaskStdio,
): Promise<{ readonly pid: number }> {
  throw notImplemented(`starting ${id} is not there yet`);
}
