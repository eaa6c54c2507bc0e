/**
 * What stands before a slash in the type of a mount asks for work before it is mounted (core/mount/manager): `format/`
 * fills in where earlier mounts are, `mkdir/` makes directories, `mkfs/` makes a file system in a file.
 */

import { lchown, lstat, mkdir, open, realpath, rename, rm } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { failedPrecondition, invalidArgument, unknown } from "../../../proto/errdefs.ts";
import type { SnapshotMount } from "../snapshotter.ts";

/** A mount that was made, for the templates of later ones. */
export interface MadeMount extends SnapshotMount {
  readonly mountPoint: string;
}

/** What a transformation needs. */
export interface TransformContext {
  readonly made: readonly MadeMount[];
  /** Directories and files may be made in these directories alone. */
  readonly roots: readonly string[];
}

/** A mount with its transformation done. @throws ContainerdError */
export type Transform = (mount: SnapshotMount, context: TransformContext) => Promise<SnapshotMount>;

const transforms: Readonly<Record<string, Transform>> = {
  format: async (mount, { made }) => ({
    ...mount,
    source: fill(mount.source, made),
    target: fill(mount.target, made),
    options: mount.options.map((option) => fill(option, made)),
  }),
  mkdir: makeDirectories,
  mkfs: makeFileSystem,
};

/** The transformations that a type asks for, in order, and the type without them. */
export function transformsOf(type: string): { transforms: Transform[]; type: string } {
  const found: Transform[] = [];
  for (;;) {
    const [first = "", ...rest] = type.split("/");
    const transform = rest.length > 0 && Object.hasOwn(transforms, first) ? transforms[first] : undefined;
    if (transform === undefined) return { transforms: found, type };
    found.push(transform);
    type = rest.join("/");
  }
}

const action = /\{\{-?\s*(.*?)\s*-?\}\}/gs;

/** Fills in `{{ source N }}`, `{{ target N }}`, `{{ mount N }}` and `{{ overlay FIRST LAST }}`. */
function fill(text: string, made: readonly MadeMount[]): string {
  const at = (index: number): MadeMount => {
    const found = made[index];
    if (found !== undefined) return found;
    throw unknown(`index out of bounds: ${index}, has ${made.length} active mounts`);
  };
  return text.replace(action, (_, inner: string) => {
    const [name, ...numbers] = inner.split(/\s+/);
    const [first, last] = numbers.map(Number);
    const isPlain = numbers.every((number) => /^-?\d+$/.test(number));
    if (isPlain && numbers.length === 1 && first !== undefined) {
      if (name === "source") return at(first).source;
      if (name === "target") return at(first).target;
      if (name === "mount") return at(first).mountPoint;
    }
    if (isPlain && name === "overlay" && numbers.length === 2 && first !== undefined && last !== undefined) {
      const [low, high] = [Math.min(first, last), Math.max(first, last)];
      if (low < 0 || high >= made.length) {
        throw unknown(`invalid range: ${first}-${last}, has ${made.length} active mounts`);
      }
      const points = made.slice(low, high + 1).map(({ mountPoint }) => mountPoint);
      return (first > last ? points.reverse() : points).join(":");
    }
    throw unknown(`template: function ${JSON.stringify(inner)} not defined`);
  });
}

const MKDIR = "X-containerd.mkdir.";

/** Makes the directories of options `X-containerd.mkdir.path=PATH[:MODE[:UID:GID]]`, which the mount then has no more. */
async function makeDirectories(mount: SnapshotMount, { roots }: TransformContext): Promise<SnapshotMount> {
  const options: string[] = [];
  for (const option of mount.options) {
    if (!option.startsWith(MKDIR)) {
      options.push(option);
      continue;
    }
    const found = /^path=([^:]+)(?::([0-7]{1,4})(?::(\d+):(\d+))?)?$/.exec(option.slice(MKDIR.length));
    if (found === null) throw invalidArgument(`invalid mkdir option ${JSON.stringify(option)}: invalid argument`);
    const [, directory = "", mode = "0700", uid, gid] = found;
    const path = await within(directory, roots, "mkdir");
    await mkdir(path, { mode: Number.parseInt(mode, 8) }).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST")
        throw unknown(`failed to create directory ${JSON.stringify(directory)}: ${error.message}`);
      if (!(await lstat(path)).isDirectory()) {
        throw failedPrecondition(
          `mkdir target ${JSON.stringify(directory)} exists and is not a directory: failed precondition`,
        );
      }
    });
    if (uid !== undefined && gid !== undefined) await lchown(path, Number(uid), Number(gid));
  }
  return { ...mount, options };
}

const MKFS = "X-containerd.mkfs.";
const fileSystems = ["ext2", "ext3", "ext4", "xfs"];
/** What making a file system in a sparse file may take. */
const MKFS_MS = 60_000;

/**
 * Makes the source, a file of `X-containerd.mkfs.size` bytes with a file system of the kind `.fs` (ext4) in it, unless it
 * is there already.
 */
async function makeFileSystem(mount: SnapshotMount, { roots }: TransformContext): Promise<SnapshotMount> {
  const own = mount.options.filter((option) => option.startsWith(MKFS));
  const result = { ...mount, options: mount.options.filter((option) => !option.startsWith(MKFS)) };
  const settings = new Map(own.map((option) => splitAtEquals(option.slice(MKFS.length))));
  const kind = settings.get("fs") ?? "ext4";
  if (!fileSystems.includes(kind)) {
    throw invalidArgument(`unsupported filesystem ${JSON.stringify(kind)}: invalid argument`);
  }
  const uuid = settings.get("uuid");
  if (uuid !== undefined && !/^[0-9a-fA-F-]{36}$/.test(uuid)) {
    throw invalidArgument(`invalid uuid ${JSON.stringify(uuid)}: invalid argument`);
  }
  const path = await within(mount.source, roots, "mkfs");
  if (
    await lstat(path).then(
      () => true,
      () => false,
    )
  )
    return result;
  const size = bytesOf(settings.get("size") ?? "");
  // Under another name until it is complete: what is half made must not be taken for a file system.
  const temporary = `${path}.new`;
  try {
    await rm(temporary, { force: true });
    const file = await open(temporary, "wx", 0o600);
    await file.truncate(size).finally(() => file.close());
    await runMkfs(kind, temporary, uuid);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  return result;
}

async function runMkfs(kind: string, path: string, uuid: string | undefined): Promise<void> {
  const identity = uuid === undefined ? [] : kind === "xfs" ? ["-m", `uuid=${uuid}`] : ["-U", uuid];
  const child = Bun.spawn([`mkfs.${kind}`, "-q", ...identity, path], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    timeout: MKFS_MS,
  });
  const [status, complaint] = await Promise.all([child.exited, child.stderr.text()]);
  if (status !== 0) throw unknown(`mkfs.${kind} ${path}: exit status ${status}: ${complaint.trim()}`);
}

function splitAtEquals(text: string): readonly [string, string] {
  const at = text.indexOf("=");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

const units: Readonly<Record<string, number>> = { "": 1, K: 1 << 10, M: 1 << 20, G: 1 << 30, T: 2 ** 40 };

/** Bytes of a size such as 67108864, 64M or 64MiB. */
function bytesOf(text: string): number {
  const found = /^(\d+)\s*([KMGT]?)(?:i?B)?$/i.exec(text);
  const size = Number(found?.[1] ?? 0) * (units[(found?.[2] ?? "").toUpperCase()] ?? 0);
  if (found !== null && size > 0 && size <= 2 ** 50) return size;
  throw invalidArgument(`invalid mkfs size ${JSON.stringify(text)}: invalid argument`);
}

/** The path without links, as far as it is there. @throws ContainerdError InvalidArgument when no root holds it */
async function within(path: string, roots: readonly string[], what: string): Promise<string> {
  const parent = await realpath(dirname(path)).catch(() => undefined);
  const name = basename(path);
  const found = parent === undefined ? undefined : await realpath(path).catch(() => join(parent, name));
  const isPlain = path.startsWith("/") && name !== "" && name !== "." && name !== "..";
  for (const root of roots) {
    const real = await realpath(root).catch(() => undefined);
    if (isPlain && real !== undefined && found?.startsWith(`${real}${sep}`)) return found;
  }
  throw invalidArgument(`no root found for ${what} path ${JSON.stringify(path)}: invalid argument`);
}
