/** Finding programs as execvp(3) does. */

import { isExecutable } from "./file.ts";

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * The absolute path of a program: as it is when it has a slash, else searched in PATH (INV-6).
 * @returns undefined when there is no such program
 */
export function findProgram(name: string): string | undefined {
  if (name.includes("/")) return isExecutable(name) ? name : undefined;
  for (const directory of (Bun.env["PATH"] || defaultPath).split(":")) {
    const path = `${directory || "."}/${name}`;
    if (isExecutable(path)) return path;
  }
  return undefined;
}
