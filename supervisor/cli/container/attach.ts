/** What `attach` does: to the streams of a container, or to its log where it has no others. */

import { existsSync } from "node:fs";
import { failedPrecondition } from "../../../proto/errdefs.ts";
import { removeFifos } from "../../container/fifos.ts";
import { labels } from "../../container/labels.ts";
import { removeContainer } from "../../container/remove.ts";
import { containerOf, deleteTask, isNotFound } from "../../container/task.ts";
import type { LogReader } from "../../logs/reader.ts";
import { readerOf } from "../../logs/uri.ts";
import type { Connection } from "../connect.ts";
import { isTerminal, note } from "../output/terminal.ts";
import { mustRun } from "./lifecycle.ts";
import { LogPrinter, logUriOf } from "./logs.ts";
import { detachKeysOf } from "./parse.ts";
import { Session, type SessionOptions, toStderr, toStdout } from "./session.ts";
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
  const proxy = flags.sigProxy !== "false";
  if (task.stdout === "" || task.stdout.includes("://")) {
    const uri = await logUriOf(api, namespace, container);
    const reader = readerOf(uri);
    if (reader === undefined) {
      throw failedPrecondition(
        `the output of ${id} goes to ${uri || "nowhere"}: nobody can attach to that; berth exec -it ${id} sh goes into it`,
      );
    }
    if (flags.stdin && isTerminal(process.stdin)) {
      note(`what ${id} prints follows; nobody can type into it, as it was run with -d: berth exec -it ${id} sh\n`);
    }
    return await attachToLog({ api, namespace, id, tty: task.terminal, proxy }, reader);
  }
  if (!existsSync(task.stdout)) {
    throw failedPrecondition(
      `the output of ${id} goes to ${task.stdout}, which is not there: its client has removed it`,
    );
  }
  const { stdin, stdout, stderr, terminal } = task;
  const streams = Streams.reopen({ stdin, stdout, stderr, terminal }, toStdout, toStderr);
  const session = new Session(
    {
      ...{ api, namespace, id, execId: "", tty: terminal },
      stdin: flags.stdin && stdin !== "",
      detachKeys: detachKeysOf(flags.detachKeys),
      proxy,
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

/** A container that was run with -d: its output is read from its log, from now on; signals go on to it. */
async function attachToLog(
  options: Pick<SessionOptions, "api" | "namespace" | "id" | "tty" | "proxy">,
  reader: LogReader,
): Promise<number> {
  const session = new Session({ ...options, execId: "", stdin: false, detachKeys: [] });
  session.begin();
  session.started();
  const finished = new AbortController();
  const ended = session.ended().finally(() => finished.abort());
  // Whoever awaits it below sees the error.
  ended.catch(() => undefined);
  const printer = new LogPrinter();
  for await (const entries of reader.read({ tail: 0, follow: true, finished: finished.signal })) {
    await printer.print(entries);
  }
  const end = await ended;
  return end.kind === "exited" ? end.exit.status : 0;
}
