/** What an earlier daemon has left on disk (core/runtime/v2/shim_load.go). */

import { readdirSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { isIdentifier } from "../../proto/identifiers.ts";
import { type Bundle, type BundleRoots, removeAtOnce } from "./bundle.ts";
import { textOf } from "./open.ts";
import type { Program, Programs } from "./program.ts";

/** Namespaces and ids of all bundles. */
export function findBundles(roots: BundleRoots): [namespace: string, id: string][] {
  const found: [string, string][] = [];
  for (const namespace of directories(roots.state)) {
    for (const id of directories(join(roots.state, namespace))) found.push([namespace, id]);
  }
  return found;
}

/** Names that can be a namespace's or a task's; hidden ones are of removals that were cut off. */
function directories(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && isIdentifier(entry.name))
      .map(({ name }) => name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/**
 * What to make of a bundle: the program of its shim; `empty` when nothing was written yet; `forgotten` when neither the
 * bundle nor a record says what it ran.
 * @param runtime of the container's record; undefined when there is none
 */
export async function inspect(
  bundle: Bundle,
  runtime: string | undefined,
  programs: Programs,
): Promise<Program | "empty" | "forgotten"> {
  if ((await readdir(bundle.path)).length === 0) return "empty";
  const path = (await textOf(bundle.file("program")))?.trim();
  const kept = path === undefined || path === "" ? undefined : programs.restore(path);
  if (kept !== undefined) return kept;
  if (runtime === undefined && path === undefined) return "forgotten";
  try {
    return programs.resolve(runtime ?? "");
  } catch {
    // The program is gone. What any shim of runc leaves, ours can clean up; and a shim that lives needs no program.
    return programs.own;
  }
}

/**
 * Removes what belongs to no task: twins without a bundle, and removals that were cut off.
 * @param take calls `remove` unless the id is in use; it is not taken into use meanwhile
 */
export async function sweep(
  roots: BundleRoots,
  take: (namespace: string, id: string, remove: () => Promise<void>) => Promise<void>,
): Promise<void> {
  for (const namespace of directories(roots.root)) {
    const parent = join(roots.root, namespace);
    for (const name of await readdir(parent)) await take(namespace, name, () => removeAtOnce(join(parent, name)));
  }
  for (const namespace of directories(roots.state)) {
    const parent = join(roots.state, namespace);
    for (const name of await readdir(parent)) {
      if (name.startsWith(".")) await rm(join(parent, name), { recursive: true, force: true });
    }
  }
}
