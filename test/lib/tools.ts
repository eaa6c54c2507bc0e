/** Programs that give the tests another machine or another containerd; they are no part of the repository. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { root } from "./paths.ts";

/** Where tools are looked for, apart from the PATH: `$BERTH_TOOLS`, and a directory `shared` beside the repository. */
export const toolDirectories: readonly string[] = [process.env["BERTH_TOOLS"], join(root, "..", "shared")].filter(
  (dir) => dir !== undefined && dir !== "",
) as string[];

/** The path of a tool such as `with-cgroup2`, or undefined where there is none. */
export function findTool(name: string): string | undefined {
  const found = toolDirectories.map((dir) => join(dir, name)).find((path) => existsSync(path));
  return found ?? Bun.which(name) ?? undefined;
}
