/** The tree that containers have as their root: a directory or an archive of the person's, or a small one made here. */

import { chmodSync, copyFileSync, existsSync, mkdirSync, statSync, symlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** What the checks run in containers. */
const programs = "sh cat dd echo env head id kill ls mkdir seq sleep stty tail true yes".split(" ");

/**
 * @param given what `--rootfs` says
 * @param path where a tree may be made
 * @returns the tree to use @throws Error in one sentence
 */
export function prepareRootfs(given: string | undefined, path: string): string {
  if (given === undefined) {
    makeRootfs(path);
    return path;
  }
  if (!existsSync(given)) throw new Error(`--rootfs ${given}: there is no such file or directory`);
  if (statSync(given).isDirectory()) return given;
  mkdirSync(path, { recursive: true });
  const { exitCode, stderr } = Bun.spawnSync(["tar", "-xf", given, "-C", path]);
  if (exitCode !== 0) throw new Error(`--rootfs ${given}: ${stderr.toString().trim()}`);
  return path;
}

function makeRootfs(path: string): void {
  for (const name of ["bin", "dev", "etc", "proc", "sys", "tmp", "run"])
    mkdirSync(join(path, name), { recursive: true });
  chmodSync(join(path, "tmp"), 0o1777);
  const PATH = `/bin:/usr/bin:/sbin:/usr/sbin:${process.env["PATH"] ?? ""}`;
  const busybox = Bun.which("busybox", { PATH });
  if (busybox !== null) {
    install(path, busybox);
    for (const name of programs) symlinkSync("busybox", join(path, "bin", name));
    return;
  }
  for (const name of programs) {
    const program = Bun.which(name, { PATH });
    if (program === null) throw new Error(`no ${name} on this machine for the containers: name a tree by --rootfs`);
    install(path, program);
  }
}

/** Copies a program of this machine into the tree, with the libraries that it loads. */
function install(root: string, program: string): void {
  copyFileSync(program, join(root, "bin", basename(program)));
  chmodSync(join(root, "bin", basename(program)), 0o755);
  const { stdout } = Bun.spawnSync(["ldd", program], { stderr: "ignore" });
  for (const [, library = ""] of stdout.toString().matchAll(/(\/\S+) \(0x/g)) {
    mkdirSync(join(root, dirname(library)), { recursive: true });
    if (!existsSync(join(root, library))) copyFileSync(library, join(root, library));
  }
}
