/** What `exec` does. */

import { readFileSync } from "node:fs";
import { failedPrecondition, invalidArgument, messageOf } from "../../../proto/errdefs.ts";
import { jsonTypes } from "../../../proto/typeurl.ts";
import type { Api } from "../../client/api.ts";
import { capabilitiesFor } from "../../container/capabilities.ts";
import { hostFacts } from "../../container/facts.ts";
import type { OciProcess } from "../../container/oci.ts";
import { RootfsTree, rootfsMounts } from "../../container/rootfs-tree.ts";
import {
  type ContainerMessage,
  containerOf,
  isNotFound,
  SNAPSHOTS,
  START_MS,
  specOf,
  TASKS,
} from "../../container/task.ts";
import { type ResolvedUser, resolveUser } from "../../container/user.ts";
import type { Connection } from "../connect.ts";
import { shown } from "../output/escape.ts";
import { isTerminal, note } from "../output/terminal.ts";
import { adviceOnStart, ExitStatus, statusOfStart } from "../status.ts";
import { EarlyErrors } from "./early-errors.ts";
import { mustRun } from "./lifecycle.ts";
import { detachKeysOf, envFile, variableOf } from "./parse.ts";
import { Session, toStdout } from "./session.ts";
import { Streams } from "./streams.ts";

/** What the flags say. */
export interface ExecFlags {
  readonly detach?: boolean;
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly env: readonly string[];
  readonly envFile: readonly string[];
  readonly user?: string;
  readonly workdir?: string;
  readonly privileged?: boolean;
  readonly detachKeys: string;
}

/** What a process left running may hold open is not waited for longer than this. */
const QUIET_MS = 500;
const MAX_USERS = 1 << 20;

/** @returns the exit status of the command */
export async function exec(
  { api, namespace }: Connection,
  id: string,
  args: readonly string[],
  flags: ExecFlags,
): Promise<number> {
  const { tty = false, interactive = false, detach = false } = flags;
  const detachKeys = detachKeysOf(flags.detachKeys);
  if (tty && interactive && !detach && !isTerminal(process.stdin)) {
    throw failedPrecondition("the input is no terminal: leave -t away");
  }
  const task = await mustRun(api, namespace, id);
  if (task.status === "paused") throw failedPrecondition(`container ${id} is paused: berth unpause ${id}`);
  const execId = `exec-${Buffer.from(crypto.getRandomValues(new Uint8Array(8))).toString("hex")}`;
  const spec = await processOf(api, namespace, await containerOf(api, namespace, id), args, flags);
  const early = new EarlyErrors();
  const streams = detach ? undefined : Streams.make({ stdin: interactive, terminal: tty }, toStdout, early.take);
  const stdio = streams?.stdio ?? { stdin: "", stdout: "", stderr: "", terminal: tty };
  const proxy = !detach;
  const session =
    streams && new Session({ api, namespace, id, execId, tty, stdin: interactive, detachKeys, proxy }, streams);
  let isLeft = detach;
  streams?.read();
  try {
    const value = new TextEncoder().encode(JSON.stringify(spec));
    const request = { containerId: id, execId, ...stdio, spec: { type_url: jsonTypes.process, value } };
    await api.call(TASKS, "Exec", request, { namespace });
    session?.begin();
    await startExec(api, namespace, id, execId);
    await early.started();
    if (session === undefined) return 0;
    session.started();
    const end = await session.ended();
    if (end.kind === "detached") {
      isLeft = true;
      note("\n");
      return 0;
    }
    await deleteExec(api, namespace, id, execId);
    await streams?.drained(QUIET_MS);
    return end.exit.status;
  } finally {
    session?.close();
    if (!isLeft) streams?.remove();
  }
}

async function startExec(api: Api, namespace: string, id: string, execId: string): Promise<void> {
  try {
    await api.call(TASKS, "Start", { containerId: id, execId }, { namespace, deadlineMs: START_MS });
  } catch (error) {
    await deleteExec(api, namespace, id, execId);
    const status = statusOfStart(messageOf(error));
    if (status === undefined) throw error;
    note(`berth exec: ${shown(adviceOnStart(messageOf(error)))}\n`);
    throw new ExitStatus(status);
  }
}

async function deleteExec(api: Api, namespace: string, id: string, execId: string): Promise<void> {
  try {
    await api.call(TASKS, "DeleteProcess", { containerId: id, execId }, { namespace });
  } catch (error) {
    // It went with its container.
    if (!isNotFound(error)) note(`berth exec: ${shown(messageOf(error))}\n`);
  }
}

/** The process: the container's own, with what the flags change. */
async function processOf(
  api: Api,
  namespace: string,
  container: ContainerMessage,
  args: readonly string[],
  flags: ExecFlags,
): Promise<OciProcess> {
  const { process: own } = specOf<{ process?: OciProcess }>(container);
  if (own === undefined) throw failedPrecondition(`the spec of container ${container.id} has no process`);
  const variables = [
    ...flags.envFile.flatMap((path) => envFile(path, read(path), process.env)),
    ...flags.env.flatMap((text) => variableOf(text, process.env) ?? []),
  ];
  const names = new Set(variables.map((text) => text.slice(0, text.indexOf("="))));
  const kept = own.env.filter((text) => !names.has(text.slice(0, text.indexOf("="))));
  const hasTerm = [...kept, ...variables].some((text) => text.startsWith("TERM="));
  const user = flags.user === undefined ? own.user : await userOf(api, namespace, container, flags.user);
  const all = flags.privileged ? capabilitiesFor({ privileged: true }, hostFacts().capabilities) : undefined;
  const capabilities = all === undefined ? own.capabilities : { bounding: all, effective: all, permitted: all };
  if (flags.workdir !== undefined && !flags.workdir.startsWith("/")) {
    throw invalidArgument(`--workdir ${flags.workdir}: it is not absolute`);
  }
  return {
    ...own,
    terminal: flags.tty ?? false,
    args,
    env: [...kept, ...(flags.tty && !hasTerm ? ["TERM=xterm"] : []), ...variables],
    cwd: flags.workdir ?? own.cwd,
    user,
    capabilities,
  };
}

async function userOf(
  api: Api,
  namespace: string,
  container: ContainerMessage,
  text: string,
): Promise<OciProcess["user"]> {
  const { snapshotter = "", snapshotKey: key = "" } = container;
  let files = {};
  try {
    const { mounts } = await api.call(SNAPSHOTS, "Mounts", { snapshotter, key }, { namespace });
    const tree = new RootfsTree(rootfsMounts(mounts));
    files = { passwd: tree.read("/etc/passwd", MAX_USERS), group: tree.read("/etc/group", MAX_USERS) };
  } catch (error) {
    // Numbers need no names.
    if (!/^\d+(:\d+)?$/.test(text)) throw error;
  }
  const { uid, gid, additionalGids }: ResolvedUser = resolveUser(text, files);
  return { uid, gid, ...(additionalGids ? { additionalGids } : {}) };
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw invalidArgument(`--env-file: cannot read ${path}: ${messageOf(error)}`);
  }
}
