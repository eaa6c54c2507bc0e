/** Which program is the shim of a runtime (contract INV-1). */

import { accessSync, constants, statSync } from "node:fs";
import { delimiter, dirname, isAbsolute, join, resolve } from "node:path";
import { unknown } from "../../proto/errdefs.ts";

/** A shim's program. */
export interface Program {
  /** What bundles keep of it in `shim-binary-path`. */
  readonly path: string;
  /** The command that the arguments of a binary call are added to. */
  readonly command: readonly string[];
  /** What the command is called by; its own path when left out. */
  readonly argv0?: string;
  /** berth's own shim, of this very executable. */
  readonly isOwn: boolean;
}

/** Runtimes that are berth's own shim unless the configuration says otherwise. */
const ownRuntimes = ["io.containerd.runc.v2", "io.containerd.berth.v2"];
const ownName = "containerd-shim-berth-v2";
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Finds programs by names of runtimes; what was found is kept, as containerd does. */
export class Programs {
  readonly #configured: ReadonlyMap<string, string>;
  readonly #found = new Map<string, Program>();
  readonly own: Program = ownProgram();

  /** @param configured paths of shims by the name of their runtime */
  constructor(configured: ReadonlyMap<string, string> = new Map()) {
    this.#configured = configured;
  }

  /**
   * The program of a runtime: a name such as `io.containerd.runc.v2`, or an absolute path.
   * @throws ContainerdError Unknown in containerd's words
   */
  resolve(runtime: string): Program {
    const configured = this.#configured.get(runtime);
    if (configured !== undefined) return this.#custom(configured);
    if (isAbsolute(runtime)) return this.#custom(runtime);
    if (ownRuntimes.includes(runtime)) return this.own;
    const name = shimName(runtime);
    if (name === undefined) throw invalidName(runtime);
    const known = this.#found.get(name);
    if (known !== undefined) return known;
    const path = lookUp(name);
    if (path === undefined) {
      throw unresolved(`runtime ${JSON.stringify(runtime)} binary not installed "${name}": file does not exist`);
    }
    const program = { path, command: [path], isOwn: false };
    this.#found.set(name, program);
    return program;
  }

  /**
   * The program of a bundle that an earlier daemon made.
   * @param path what the bundle keeps; it may be that of an executable that an upgrade has moved away
   * @returns undefined when it is not there any more
   */
  restore(path: string): Program | undefined {
    if (path === this.own.path || path.endsWith(`/${ownName}`)) return this.own;
    return isAbsolute(path) && exists(path) ? { path, command: [path], isOwn: false } : undefined;
  }

  #custom(path: string): Program {
    if (path === this.own.path) return this.own;
    if (!exists(path)) throw unresolved(`invalid custom binary path: stat ${path}: no such file or directory`);
    return { path, command: [path], isOwn: false };
  }
}

/** The name of the shim of a runtime, of the last two parts of its name; undefined when it has no two. */
export function shimName(runtime: string): string | undefined {
  const parts = runtime.split(".");
  if (runtime.includes("/") || parts.length < 2 || parts[0] === "") return undefined;
  return `containerd-shim-${parts.at(-2)}-${parts.at(-1)}`;
}

/** This executable in the role of the shim: compiled, under its name; from source, by Bun. */
function ownProgram(): Program {
  if (!import.meta.dir.startsWith("/$bunfs")) {
    const main = resolve(import.meta.dir, "../../shim/main.ts");
    return { path: main, command: [process.execPath, main, "shim"], isOwn: true };
  }
  const link = join(dirname(process.execPath), ownName);
  const path = exists(link) ? link : process.execPath;
  return { path, command: [process.execPath], argv0: ownName, isOwn: true };
}

/** Looks in PATH, then beside this executable. */
function lookUp(name: string): string | undefined {
  const directories = (process.env["PATH"] || defaultPath).split(delimiter);
  for (const directory of [...directories, dirname(process.execPath)]) {
    const path = resolve(directory || ".", name);
    if (isExecutable(path)) return path;
  }
  return undefined;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function unresolved(why: string): Error {
  return unknown(`failed to resolve runtime path: ${why}`);
}

function invalidName(runtime: string): Error {
  return unresolved(
    `invalid runtime name ${runtime}, correct runtime name should be either format like \`io.containerd.runc.v2\` or a full path to the binary`,
  );
}
