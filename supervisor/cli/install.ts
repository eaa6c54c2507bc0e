/** `berth install`: puts the executable and its links where containerd looks (INV-1). */

import { accessSync, constants, copyFileSync, mkdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { parseArgs } from "node:util";

/** Links to the executable, one for each role that containerd or a person calls by name. */
const links = ["containerd-shim-berth-v2", "berthd"];
const defaultDirectory = "/usr/local/bin";

/**
 * Copies this executable to DIR/berth and links the roles to it. An executable that is in use is replaced, not
 * overwritten: running shims go on with the old one.
 * @returns the exit status
 */
export async function install(args: readonly string[]): Promise<number> {
  let directory: string;
  try {
    const { values } = parseArgs({ args: [...args], options: { "bin-dir": { type: "string" } } });
    directory = resolve(values["bin-dir"] ?? defaultDirectory);
  } catch (error) {
    await Bun.write(Bun.stderr, `berth install: ${(error as Error).message}\nusage: berth install [--bin-dir DIR]\n`);
    return 1;
  }
  if (!import.meta.dir.startsWith("/$bunfs")) {
    await Bun.write(Bun.stderr, "berth install: run the compiled dist/berth, which `npm run build` makes\n");
    return 1;
  }
  const target = join(directory, "berth");
  try {
    mkdirSync(directory, { recursive: true });
    accessSync(directory, constants.W_OK);
    replace(target, (temporary) => copyFileSync(process.execPath, temporary));
    for (const link of links) replace(join(directory, link), (temporary) => symlinkSync("berth", temporary));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const help = code === "EACCES" || code === "EROFS" ? "run it as root, or choose another --bin-dir" : message;
    await Bun.write(Bun.stderr, `berth install: cannot write to ${directory}: ${help}\n`);
    return 1;
  }
  const found = (process.env["PATH"] ?? "").split(delimiter).includes(directory);
  const hint = found ? "" : `${directory} is not in PATH: add it to containerd's, or name it with runtime_path\n`;
  const installed = ["berth", ...links].map((name) => join(directory, name)).join("\n");
  await Bun.write(Bun.stdout, `installed\n${installed}\n${hint}`);
  return 0;
}

/** Makes `path` anew by rename, so that nobody ever meets half of it. */
function replace(path: string, make: (temporary: string) => void): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    make(temporary);
    renameSync(temporary, path);
  } finally {
    rmSync(temporary, { force: true });
  }
}
