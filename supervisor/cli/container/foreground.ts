/** Running a container in the foreground: its output is ours, live and whole, and its exit status, too. */

import { messageOf } from "../../../proto/errdefs.ts";
import type { Api } from "../../client/api.ts";
import { removeContainer } from "../../container/remove.ts";
import { startContainer } from "../../container/start.ts";
import { deleteTask, isNotFound } from "../../container/task.ts";
import { note } from "../output/terminal.ts";
import { EarlyErrors } from "./early-errors.ts";
import { Session, toStdout } from "./session.ts";
import { Streams } from "./streams.ts";

/** Output may be held open by what the container has left running: so long without any, it is over. */
const QUIET_MS = 2000;

/** How a container is run. */
export interface ForegroundOptions {
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly detachKeys: readonly number[];
  readonly proxy: boolean;
  /** Remove the container when it has ended, or could not be started. */
  readonly remove: boolean;
}

/** Starts a container and stays with it until it has ended, or was left. @returns the exit status */
export async function runForeground(
  api: Api,
  namespace: string,
  id: string,
  options: ForegroundOptions,
): Promise<number> {
  const { tty, stdin, detachKeys, proxy } = options;
  const early = new EarlyErrors();
  const streams = Streams.make({ stdin, terminal: tty }, toStdout, early.take);
  const session = new Session({ api, namespace, id, execId: "", tty, stdin, detachKeys, proxy }, streams);
  streams.read();
  let isLeft = false;
  try {
    const onCreated = (): void => session.begin();
    await startContainer(api, namespace, id, { stdio: streams.stdio, onCreated });
    await early.started();
    session.started();
    const end = await session.ended();
    if (end.kind === "detached") {
      isLeft = true;
      note(`\n${id} goes on: berth attach ${id}\n`);
      return 0;
    }
    await deleteTask(api, namespace, id);
    await streams.drained(QUIET_MS);
    return end.exit.status;
  } finally {
    session.close();
    // Left, it may be attached to again.
    if (!isLeft) streams.remove();
    if (!isLeft && options.remove) await remove(api, namespace, id);
  }
}

async function remove(api: Api, namespace: string, id: string): Promise<void> {
  try {
    await removeContainer(api, namespace, id, { force: true, volumes: true });
  } catch (error) {
    // The daemon, or another client, was faster.
    if (!isNotFound(error)) note(`berth: ${id} could not be removed: ${messageOf(error)}\n`);
  }
}
