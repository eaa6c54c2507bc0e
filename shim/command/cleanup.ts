/** What `delete` does when the shim did not come to it: a crash, SIGKILL, a power cut (DL-3 to DL-8). */

import { messageOf } from "../../proto/errdefs.ts";
import { type Bundle, groupOf, runcRoot } from "../container/bundle.ts";
import { killCgroup, removeCgroup } from "../linux/cgroup/index.ts";
import { listDirectory, readFileIfExists, readLink, removeFile } from "../linux/file.ts";
import { unmountRecursive } from "../linux/mount.ts";
import { isRunning } from "../linux/process.ts";
import { findProgram } from "../linux/program.ts";
import { removeRest } from "../runc/rest.ts";
import { answers, pathOf, socketPath } from "../socket.ts";
import { runBriefly } from "./brief.ts";
import type { Flags } from "./flags.ts";

/** containerd gives `delete` 5 s in all (DL-2). */
const RUNC_LIMIT = 4_000;

/**
 * Removes everything of the container but the bundle itself. Can be repeated, and works on a bundle in any state.
 * Warnings go to stderr, which containerd logs.
 * @throws Error when mounts stay: containerd must know, for it is about to remove what lies below them
 */
export async function cleanUp(bundle: Bundle, flags: Flags): Promise<void> {
  const shimLives = isServed(bundle);
  // Read before anything is removed: a client that deletes the task meanwhile takes the bundle from under us.
  const sockets = shimLives ? [] : socketsOf(bundle, flags);
  if (!shimLives) endOrphans(bundle);
  const deleted = await runcDelete(bundle, flags.id, flags.namespace);
  const cgroup = cgroupsPathOf(bundle);
  if (cgroup !== undefined) {
    if (!deleted) killCgroup(cgroup, flags.id);
    await removeCgroup(cgroup);
  }
  unmountRecursive(bundle.rootfs);
  for (const socket of sockets) removeFile(socket);
}

/** Removes the sockets of a dead shim; a living one, perhaps a sibling's in a group, keeps its own (DL-4, DL-8). */
export function removeSockets(bundle: Bundle, flags: Flags): void {
  if (isServed(bundle)) return;
  for (const socket of socketsOf(bundle, flags)) removeFile(socket);
}

/**
 * True when a shim serves this bundle. A killed shim's socket may accept connections a moment longer, so its process is
 * looked at first.
 */
function isServed(bundle: Bundle): boolean {
  const socket = pathOf(bundle.readAddress() ?? "");
  if (socket === undefined) return false;
  const pid = bundle.readShimPid();
  return (pid === undefined || isRunning(pid)) && answers(socket);
}

/** What config.json says of the cgroup; undefined when it says nothing, or is gone. */
function cgroupsPathOf(bundle: Bundle): string | undefined {
  try {
    return bundle.readSpec().cgroupsPath;
  } catch {
    return undefined;
  }
}

/** The paths of a shim's sockets: the debug socket lies beside the other, by a name from the same facts (SK-1, SK-7). */
function socketsOf(bundle: Bundle, flags: Flags): string[] {
  const socket = pathOf(bundle.readAddress() ?? "");
  if (socket === undefined) return [];
  try {
    const group = groupOf(bundle.readSpec(), flags.id);
    const directory = socket.slice(0, socket.lastIndexOf("/"));
    return [socket, socketPath(directory, flags.address, flags.namespace, group, "debug")];
  } catch (error) {
    process.stderr.write(`debug socket of ${flags.id}: ${messageOf(error)}\n`);
    return [socket];
  }
}

/**
 * Kills what a killed shim left at work: runc commands of its session. A `runc create` that goes on would make the
 * container that we are about to delete.
 */
function endOrphans(bundle: Bundle): void {
  const shim = bundle.readShimPid();
  // No pid is given away again while its session has members: who runs under it now is a stranger, with a session that
  // is none of ours, and of the shim's nothing is left.
  if (shim === undefined || isRunning(shim)) return;
  for (const pid of listDirectory("/proc")) {
    if (!/^[0-9]+$/.test(pid)) continue;
    const stat = readFileIfExists(`/proc/${pid}/stat`);
    const session = stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[3];
    if (session !== String(shim) || Number(pid) === shim) continue;
    const name = readLink(`/proc/${pid}/exe`)?.split("/").at(-1);
    process.stderr.write(`kill ${name ?? "process"} ${pid}, left by shim ${shim}\n`);
    try {
      process.kill(Number(pid), "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
}

/** @returns false when runc could not do it, or did not know the container */
async function runcDelete(bundle: Bundle, id: string, namespace: string): Promise<boolean> {
  const options = bundle.readOptions();
  const name = bundle.readRuntime() ?? (options?.binaryName || "runc");
  try {
    const program = findProgram(name);
    if (program === undefined) {
      process.stderr.write(`${name}: executable file not found, container ${id} is killed by its cgroup\n`);
      return false;
    }
    const root = runcRoot(options?.root, namespace);
    const args = ["--root", root];
    if (options?.systemdCgroup === true) args.push("--systemd-cgroup");
    const { status, output } = await runBriefly([program, ...args, "delete", "--force", id], "stderr", RUNC_LIMIT);
    const said = new TextDecoder().decode(output).trim().slice(0, 1000);
    const why = status === undefined ? "did not end in time and was killed" : said || `exited with status ${status}`;
    if (status !== 0) process.stderr.write(`${name} delete --force ${id}: ${why}\n`);
    else removeRest(root, id);
    return status === 0;
  } catch (error) {
    process.stderr.write(`${name} delete --force ${id}: ${messageOf(error)}\n`);
    return false;
  }
}
