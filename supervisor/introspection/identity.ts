/** What tells one daemon from another: a UUID that its root keeps, and the process. */

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { writeDurably } from "../store/file.ts";

/** Where containerd keeps its UUID below its root. */
const FILE = "io.containerd.grpc.v1.introspection/uuid";
const pattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The UUID of the daemon with this root; made when it has none, or one that is damaged. */
export function daemonUuid(root: string): string {
  const path = join(root, FILE);
  try {
    const uuid = readFileSync(path, "utf8").trim();
    if (pattern.test(uuid)) return uuid;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const uuid = crypto.randomUUID();
  writeDurably(path, uuid);
  return uuid;
}

/** The inode of this process' pid namespace, by which a client knows whether pids mean the same to it. */
export function pidNamespace(): number {
  return statSync("/proc/self/ns/pid").ino;
}
