/** Bundles against their shims, and mounts against bundles. */

import { readFile, realpath } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { isIdentifier } from "../../proto/identifiers.ts";
import { mountsBelow } from "../../shim/linux/index.ts";
import { bundleFiles } from "../task/bundle.ts";
import { parseEndpoint } from "../task/endpoint.ts";
import { forEach, namesIn } from "./content.ts";
import type { Finding } from "./finding.ts";
import type { CheckRecords } from "./records.ts";

/** The room of tasks, in root and in state. */
export const taskRoom = "io.containerd.runtime.v2.task";
/** How long a shim may take to accept a connection. */
const CONNECT_MS = 2000;

/** @param state of the daemon @param root of the daemon */
export async function checkTasks(records: CheckRecords, root: string, state: string): Promise<Finding[]> {
  const findings: Finding[] = [];
  // As mountinfo spells it.
  const room = await realpath(join(state, taskRoom)).catch(() => join(state, taskRoom));
  const bundles = await bundlesIn(room);
  const containers = new Map(records.containers.map((row) => [`${row.namespace}/${row.id}`, row]));
  const mounts = mountsBelow(room);
  await forEach(bundles, async (subject) => {
    const path = join(room, subject);
    const add = (severity: Finding["severity"], area: Finding["area"], problem: string): void => {
      findings.push({ severity, area, subject, problem });
    };
    const problem = await shimProblem(path);
    if (problem !== undefined) {
      add("error", "task", `${problem}; the daemon cleans up when it starts`);
      return;
    }
    const container = containers.get(subject);
    if (container === undefined) add("note", "task", "has a shim and no container");
    else if (container.snapshot_key !== "" && !mounts.includes(join(path, "rootfs"))) {
      add("error", "mount", `${path}/rootfs is not mounted, though the container has a snapshot`);
    }
  });
  const known = new Set(bundles);
  for (const mount of mounts) {
    const [namespace = "", id = ""] = mount.slice(room.length + 1).split("/");
    if (known.has(`${namespace}/${id}`)) continue;
    const problem = `${mount} is mounted and belongs to no bundle: unmount it`;
    const about = { kind: "mount", path: mount } as const;
    findings.push({ severity: "error", area: "mount", subject: `${namespace}/${id}`, problem, about });
  }
  for (const twin of await bundlesIn(join(root, taskRoom))) {
    if (known.has(twin)) continue;
    const problem = `${join(root, taskRoom, twin)} belongs to no bundle: waste, removed in time`;
    findings.push({ severity: "note", area: "task", subject: twin, problem });
  }
  return findings;
}

/** `namespace/id` of every bundle below a directory. */
async function bundlesIn(directory: string): Promise<string[]> {
  const found: string[] = [];
  for (const namespace of (await namesIn(directory)).filter(isIdentifier)) {
    for (const id of await namesIn(join(directory, namespace))) if (isIdentifier(id)) found.push(`${namespace}/${id}`);
  }
  return found;
}

/** Why a bundle's shim is not to be reached; undefined when it is. */
async function shimProblem(bundle: string): Promise<string | undefined> {
  const read = (name: string): Promise<Buffer | undefined> => readFile(join(bundle, name)).catch(() => undefined);
  const answer = (await read(bundleFiles.endpoint)) ?? (await read("address"));
  if (answer === undefined) return "its bundle says nothing of a shim";
  try {
    const { address, protocol } = parseEndpoint(answer);
    const path = address.startsWith("unix://") ? address.slice("unix://".length) : `\0${address}`;
    return (await accepts(path)) ? undefined : `its shim does not answer at ${protocol} ${address}`;
  } catch (error) {
    return (error as Error).message;
  }
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (answer: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => end(false), CONNECT_MS);
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
  });
}
