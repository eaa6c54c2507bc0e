/** What `attach` does. */

import { existsSync } from "node:fs";
import { failedPrecondition } from "../../../proto/errdefs.ts";
import { removeFifos } from "../../container/fifos.ts";
import { labels } from "../../container/labels.ts";
import { removeContainer } from "../../container/remove.ts";
import { containerOf, deleteTask, isNotFound } from "../../container/task.ts";
import type { Connection } from "../connect.ts";
import { note } from "../output/terminal.ts";
import { mustRun } from "./lifecycle.ts";
import { detachKeysOf } from "./parse.ts";
import { Session, toStderr, toStdout } from "./session.ts";
import { Streams } from "./streams.ts";

/** What the flags say. */
export interface AttachFlags {
  /** False with `--no-stdin`. */
  readonly stdin: boolean;
  readonly detachKeys: string;
  readonly sigProxy?: string;
}

const QUIET_MS = 2000;

/** @returns the container's exit status, or 0 when it was left */
export async function attach({ api, namespace }: Connection, id: string, flags: AttachFlags): Promise<number> {
  const container = await containerOf(api, namespace, id);
  const task = await mustRun(api, namespace, id);
  if (task.stdout.includes("://") || task.stdout === "" || !existsSync(task.stdout)) {
    throw failedPrecondition(
      `the output of ${id} goes to ${task.stdout === "" ? "nowhere" : "its log"}, not to a person: berth logs -f ${id} follows ` +
        `a log, and berth exec -it ${id} sh goes into it; a container that was run without -d can be attached to`,
    );
  }
  const { stdin, stdout, stderr, terminal } = task;
  const streams = Streams.reopen({ stdin, stdout, stderr, terminal }, toStdout, toStderr);
  const session = new Session(
    {
      ...{ api, namespace, id, execId: "", tty: terminal },
      stdin: flags.stdin && stdin !== "",
      detachKeys: detachKeysOf(flags.detachKeys),
      proxy: flags.sigProxy !== "false",
    },
    streams,
  );
  streams.read();
  session.begin();
  session.started();
  try {
    const end = await session.ended();
    if (end.kind === "detached") {
      note(`\n${id} goes on: berth attach ${id}\n`);
      return 0;
    }
    await deleteTask(api, namespace, id);
    await streams.drained(QUIET_MS);
    removeFifos(stdout);
    if (container.labels?.[labels.autoRemove] === "true") {
      await removeContainer(api, namespace, id, { force: true, volumes: true }).catch((error: unknown) => {
        // The daemon was faster.
        if (!isNotFound(error)) throw error;
      });
    }
    return end.exit.status;
  } finally {
    session.close();
  }
}
