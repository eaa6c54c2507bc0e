/**
 * `delete`: cleans up after a shim, and tells how the container ended (contract 1.3). It runs for every task, most often
 * when there is nothing left to do; then it looks, and does nothing. That way must stay short: it loads no system calls
 * and no protobuf.
 */

import { checkIdentifier } from "../../proto/identifiers.ts";
import { type ExitRecord, parseRecord, recordFile } from "../container/record.ts";
import type { Flags } from "./flags.ts";
import { deleteResponse } from "./response.ts";

const SIGKILL_STATUS = 137;

/** Cleans the bundle of `flags.id` beside the working directory. @returns the exit status @throws Error */
export async function deleteContainer(flags: Flags): Promise<number> {
  checkIdentifier(flags.namespace, "namespace");
  checkIdentifier(flags.id, "container id");
  const path = `${process.cwd().replace(/\/[^/]*$/, "")}/${flags.id}`;
  const record = parseRecord(await textOf(`${path}/${recordFile}`));
  const end = record?.deleted === true && !(await hasSocket(path)) ? record : await cleanUp(path, flags);
  const { pid, exitStatus, exitedAt } = end;
  await Bun.write(Bun.stdout, deleteResponse(pid, exitStatus, exitedAt));
  return 0;
}

/** The text of a small file; empty when there is none. */
async function textOf(path: string): Promise<string> {
  try {
    return await Bun.file(path).text();
  } catch {
    return "";
  }
}

/** True when the shim of the bundle has left its socket behind, or still listens (DL-8). */
async function hasSocket(path: string): Promise<boolean> {
  const address = (await textOf(`${path}/address`)).trim();
  if (!address.startsWith("unix:///")) return false;
  try {
    await Bun.file(address.slice("unix://".length)).stat();
    return true;
  } catch {
    return false;
  }
}

async function cleanUp(path: string, flags: Flags): Promise<Omit<ExitRecord, "deleted">> {
  const [{ Bundle }, cleanup] = await Promise.all([import("../container/bundle.ts"), import("./cleanup.ts")]);
  const bundle = new Bundle(path);
  if (bundle.readExitRecord()?.deleted === true) cleanup.removeSockets(bundle, flags);
  else await cleanup.cleanUp(bundle, flags);
  return bundle.readExitRecord() ?? { pid: bundle.initPid(), exitStatus: SIGKILL_STATUS, exitedAt: Date.now() };
}
