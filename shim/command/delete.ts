/**
 * `delete`: cleans up after a shim, and tells how the container ended (contract 1.3). It runs for every task, most often
 * when there is nothing left to do; then it looks, and does nothing.
 */

import { containerd } from "../../proto/gen/shim.js";
import { checkIdentifier } from "../../proto/identifiers.ts";
import { Bundle } from "../container/bundle.ts";
import { exists } from "../linux/file.ts";
import { pathOf } from "../socket.ts";
import { timestamp } from "../task/timestamp.ts";
import type { Flags } from "./flags.ts";

const SIGKILL_STATUS = 137;

/** Cleans the bundle of `flags.id` beside the working directory. @returns the exit status @throws Error */
export async function deleteContainer(flags: Flags): Promise<number> {
  checkIdentifier(flags.namespace, "namespace");
  checkIdentifier(flags.id, "container id");
  const bundle = new Bundle(`${process.cwd().replace(/\/[^/]*$/, "")}/${flags.id}`);
  const record = bundle.readExitRecord();
  const cleaned = record?.deleted === true;
  // A shim that was killed after Task.Delete has left its socket and nothing else (DL-8).
  if (!cleaned || exists(pathOf(bundle.readAddress() ?? "") ?? "")) {
    const { cleanUp, removeSockets } = await import("./cleanup.ts");
    await (cleaned ? removeSockets : cleanUp)(bundle, flags);
  }
  const end = bundle.readExitRecord() ?? record;
  const response = containerd.task.v2.DeleteResponse.encode({
    pid: end?.pid ?? initPid(bundle),
    exitStatus: end?.exitStatus ?? SIGKILL_STATUS,
    exitedAt: timestamp(end?.exitedAt ?? Date.now()),
  }).finish();
  await Bun.write(Bun.stdout, response);
  return 0;
}

function initPid(bundle: Bundle): number {
  try {
    return bundle.readPid(bundle.initPidFile);
  } catch {
    return 0;
  }
}
