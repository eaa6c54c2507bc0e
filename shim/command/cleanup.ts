/** What `delete` does when the shim did not come to it: a crash, SIGKILL, a power cut (DL-3 to DL-8). */

import { messageOf } from "../../proto/errdefs.ts";
import { type Bundle, groupOf, runcRoot } from "../container/bundle.ts";
import { listDirectory, readFileIfExists, readLink, removeFile } from "../linux/file.ts";
import { unmountRecursive } from "../linux/mount.ts";
import { findProgram } from "../linux/program.ts";
import { answers, pathOf, socketPath } from "../socket.ts";
import type { Flags } from "./flags.ts";

/** containerd gives `delete` 5 s in all (DL-2). */
const RUNC_LIMIT = 4_000;

/**
 * Removes everything of the container but the bundle itself. Can be repeated, and works on a bundle in any state.
 * Warnings go to stderr, which containerd logs.
 * @throws Error when mounts stay: containerd must know, for it is about to remove what lies below them
 */
export async function cleanUp(bundle: Bundle, flags: Flags): Promise<void> {
  const address = bundle.readAddress();
  const socket = address === undefined ? undefined : pathOf(address);
  const shimLives = socket !== undefined && (await answers(socket));
  if (!shimLives) endOrphans(bundle);
  await runcDelete(bundle, flags.id, flags.namespace);
  unmountRecursive(bundle.rootfs);
  // Only a socket that nobody answers: in a group it may be a sibling's (DL-4, DL-8).
  if (socket !== undefined && !shimLives) {
    removeFile(socket);
    removeDebugSocket(bundle, flags, socket);
  }
}

/** The debug socket lies beside the other, under a name that follows from the same facts (SK-1, SK-7). */
function removeDebugSocket(bundle: Bundle, flags: Flags, socket: string): void {
  try {
    const group = groupOf(bundle.readSpec(), flags.id);
    const directory = socket.slice(0, socket.lastIndexOf("/"));
    removeFile(socketPath(directory, flags.address, flags.namespace, group, "debug"));
  } catch (error) {
    process.stderr.write(`debug socket of ${flags.id}: ${messageOf(error)}\n`);
  }
}

/**
 * Kills what a killed shim left at work: runc commands of its session. A `runc create` that goes on would make the
 * container that we are about to delete.
 */
function endOrphans(bundle: Bundle): void {
  const shim = bundle.readShimPid();
  if (shim === undefined) return;
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

async function runcDelete(bundle: Bundle, id: string, namespace: string): Promise<void> {
  const options = bundle.readOptions();
  const name = bundle.readRuntime() ?? (options?.binaryName || "runc");
  const program = findProgram(name);
  if (program === undefined) {
    process.stderr.write(`${name}: executable file not found, container ${id} is not deleted\n`);
    return;
  }
  const args = ["--root", runcRoot(options?.root, namespace)];
  if (options?.systemdCgroup === true) args.push("--systemd-cgroup");
  try {
    const child = Bun.spawn([program, ...args, "delete", "--force", id], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
      timeout: RUNC_LIMIT,
      killSignal: "SIGKILL",
    });
    const said = (await child.stderr.text()).trim();
    if ((await child.exited) !== 0) process.stderr.write(`${name} delete --force ${id}: ${said.slice(0, 1000)}\n`);
  } catch (error) {
    process.stderr.write(`${name} delete --force ${id}: ${messageOf(error)}\n`);
  }
}
