/** `berth cp`: files between this machine and a container, both ways, or as an archive. */

import { lstatSync, realpathSync, type Stats, statSync } from "node:fs";
import { basename, dirname, join, posix, resolve } from "node:path";
import { failedPrecondition, invalidArgument, notFound } from "../../../proto/errdefs.ts";
import type { Connection } from "../connect.ts";
import { shown } from "../output/escape.ts";
import { isTerminal } from "../output/terminal.ts";
import { type HeldTree, treeOf } from "./place.ts";
import type { ReadRequest, StatAnswer, StatRequest, WriteRequest } from "./request.ts";

export interface CopyFlags {
  /** Keep owners. */
  readonly archive?: boolean;
  readonly followLink?: boolean;
  readonly quiet?: boolean;
}

/** One end: a path of this machine, `-`, or a path in a container. */
export type End = { readonly path: string; readonly container?: string };

/** Reads `CONTAINER:PATH`, a path, or `-`. A path with a colon is told by `./` before it, as docker does it. */
export function parseEnd(text: string): End {
  const colon = text.indexOf(":");
  if (text === "-" || colon <= 0 || /^[./]/.test(text)) return { path: text };
  return { container: text.slice(0, colon), path: text.slice(colon + 1) };
}

/** Copies. @throws ContainerdError, Error that says what to do */
export async function copy(connection: Connection, from: string, to: string, flags: CopyFlags): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error("copying enters the container's files, which only root may: use sudo");
  const source = parseEnd(from);
  const target = parseEnd(to);
  if (source.container !== undefined && target.container !== undefined) {
    throw invalidArgument(
      "copying between containers: copy to this machine first, or pipe: berth cp A:PATH - | berth cp - B:DIRECTORY",
    );
  }
  if (source.container !== undefined)
    return fromContainer(connection, source.container, source.path, target.path, flags);
  if (target.container !== undefined) return toContainer(connection, source.path, target.container, target.path, flags);
  throw invalidArgument("one of the two must be CONTAINER:PATH");
}

async function fromContainer(
  { api, namespace }: Connection,
  id: string,
  path: string,
  to: string,
  flags: CopyFlags,
): Promise<void> {
  if (to === "-" && isTerminal()) throw new Error("an archive does not go to a terminal: use a pipe or a file");
  const tree = await treeOf(api, namespace, id);
  try {
    const found = await statIn(tree, path);
    checkCovered(tree, id, path);
    const what = flags.followLink ? found.target : found.kind;
    if (what === "missing") throw notFound(`there is no ${shown(path)} in container ${shown(id)}`);
    const read = { path, follow: flags.followLink ?? false };
    if (to === "-") {
      await run(reader(tree, { ...read, as: nameOf(path) }, "inherit"));
      return;
    }
    const place = placeHere(to, isDirectory(what), path);
    const write = { into: "/", isSafe: !flags.archive, sync: false, ...(flags.archive ? {} : { owner: me() }) };
    await pipe(reader(tree, { ...read, as: place.as }, "pipe"), (input) => writer({ root: place.into }, write, input));
  } finally {
    tree.close();
  }
}

async function toContainer(
  { api, namespace }: Connection,
  from: string,
  id: string,
  path: string,
  flags: CopyFlags,
): Promise<void> {
  if (from === "-" && isTerminal(process.stdin))
    throw new Error("an archive is read from standard input, which is a terminal: use a pipe");
  const here = from === "-" ? undefined : statHere(from, flags.followLink ?? false);
  const tree = await treeOf(api, namespace, id);
  try {
    const found = await statIn(tree, path);
    checkCovered(tree, id, path);
    const owner = flags.archive || from === "-" ? {} : { owner: { uid: 0, gid: 0 } };
    const write = (into: string): Omit<WriteRequest, "parent"> => ({
      into,
      isSafe: false,
      sync: !tree.isRunning,
      ...owner,
    });
    if (here === undefined) {
      if (found.target !== "directory")
        throw failedPrecondition(
          `${shown(path)} in container ${shown(id)} is no directory: an archive is unpacked into one`,
        );
      await run(writer(tree, write(path), "inherit"));
      return;
    }
    const place = await placeThere(tree, path, found, here.isDirectory(), from);
    const source = resolve(from);
    const read = { path: source, as: place.as, follow: flags.followLink ?? false };
    await pipe(reader({ root: "/" }, read, "pipe"), (input) => writer(tree, write(place.into), input));
  } finally {
    tree.close();
  }
}

/** Where something goes: the directory, and its name in it; an empty name when only its contents go there. */
interface Place {
  readonly into: string;
  readonly as: string;
}

/** docker's rules for where things go. @throws ContainerdError */
export function placeFor(
  to: string,
  target: "missing" | "file" | "directory" | "other",
  parent: "missing" | "file" | "directory" | "other",
  isDirectory: boolean,
  from: string,
): Place {
  if (target === "directory") {
    const isContents = isDirectory && /(?:^|\/)\.$/.test(from);
    return { into: to, as: isContents ? "" : nameOf(from) };
  }
  if (target !== "missing") {
    if (isDirectory) throw failedPrecondition(`${shown(to)} is no directory, and ${shown(from)} is one`);
    if (to.endsWith("/")) throw failedPrecondition(`${shown(to)} is no directory`);
  } else {
    if (parent !== "directory") throw notFound(`there is no directory ${shown(posix.dirname(to))}: make it first`);
    if (!isDirectory && to.endsWith("/")) throw notFound(`there is no directory ${shown(to)}: make it first`);
  }
  const clean = to.replace(/\/+$/, "");
  return { into: posix.dirname(clean), as: posix.basename(clean) };
}

function placeHere(to: string, isDirectory: boolean, from: string): Place {
  const kind = (path: string): "missing" | "file" | "directory" | "other" => {
    try {
      const status = statSync(path);
      return status.isDirectory() ? "directory" : status.isFile() ? "file" : "other";
    } catch {
      return "missing";
    }
  };
  const place = placeFor(to, kind(to), kind(dirname(resolve(to))), isDirectory, from);
  // A link that the user names is the user's; what the archive names stays below this directory.
  return { into: realpathSync(resolve(place.into)), as: place.as };
}

async function placeThere(
  tree: HeldTree,
  path: string,
  found: StatAnswer,
  isDirectory: boolean,
  from: string,
): Promise<Place> {
  const to = posix.isAbsolute(path) ? path : `/${path}`;
  const parent = await statIn(tree, posix.dirname(to.replace(/\/+$/, "") || "/"));
  // "/dir/." and "link" name the place itself: the name of the archive's topmost entry must not replace them.
  return placeFor(to, found.target, parent.target, isDirectory, from);
}

function isDirectory(kind: StatAnswer["kind"]): boolean {
  return kind === "directory";
}

/** The last part of a path; that of where it leads for one that ends in `.` or `..`. */
function nameOf(path: string): string {
  const name = basename(posix.normalize(path.replace(/\/\.$/, "")));
  return name === "." || name === ".." || name === "/" ? basename(resolve(path)) : name;
}

function statHere(path: string, follow: boolean): Stats {
  try {
    // A slash at the end follows a link, as everywhere.
    return follow || path.endsWith("/") || path.endsWith("/.") ? statSync(path) : lstatSync(path);
  } catch (error) {
    throw notFound(`cannot read ${path}: ${(error as Error).message}`);
  }
}

function me(): { uid: number; gid: number } {
  return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
}

/** @throws ContainerdError FailedPrecondition for what only the volumes of a running container show */
function checkCovered({ covered }: HeldTree, id: string, path: string): void {
  const at = posix.normalize(`/${path}`);
  const volume = covered.find((mount) => at === mount || at.startsWith(`${mount}/`));
  if (volume === undefined) return;
  throw failedPrecondition(
    `${shown(path)} is on a volume of container ${shown(id)} (${shown(volume)}), which does not run: start it first, or copy where the volume is on this machine`,
  );
}

type Child = Bun.Subprocess<"inherit" | "ignore" | ReadableStream | "pipe", "inherit" | "pipe", "pipe">;

function command(action: string, request: object): string[] {
  const isCompiled = import.meta.dir.startsWith("/$bunfs");
  const program = isCompiled ? [process.execPath] : [process.execPath, join(import.meta.dir, "../../../shim/main.ts")];
  return [...program, "files", action, JSON.stringify({ ...request, parent: process.pid })];
}

async function statIn(tree: HeldTree, path: string): Promise<StatAnswer> {
  const { root, mounts, mountPoint } = tree;
  const request: Omit<StatRequest, "parent"> = { path, ...definedOf({ root, mounts, mountPoint }) };
  const child = Bun.spawn(command("stat", request), {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    cwd: "/",
    env: {},
  });
  const [output] = await Promise.all([child.stdout.text(), run(child)]);
  return JSON.parse(output) as StatAnswer;
}

function reader(
  tree: { root?: string | undefined } | HeldTree,
  request: Omit<ReadRequest, "parent">,
  stdout: "pipe" | "inherit",
): Child {
  const options = { stdin: "ignore", stdout, stderr: "pipe", cwd: "/", env: {} } as const;
  return Bun.spawn(command("read", { ...request, ...definedOf(tree) }), options) as Child;
}

function writer(
  tree: { root?: string | undefined } | HeldTree,
  request: Omit<WriteRequest, "parent">,
  stdin: ReadableStream | "inherit",
): Child {
  const options = { stdin, stdout: "inherit", stderr: "pipe", cwd: "/", env: {} } as const;
  return Bun.spawn(command("write", { ...request, ...definedOf(tree) }), options) as unknown as Child;
}

/** The part of a tree that a child needs. */
function definedOf(tree: Partial<HeldTree> | { root?: string | undefined }): object {
  const { root, mounts, mountPoint } = tree as Partial<HeldTree>;
  return root === undefined ? { mounts, mountPoint } : { root };
}

/** Waits for a child. @throws Error in its words */
async function run(child: Pick<Child, "stderr" | "exited">): Promise<void> {
  const [complaint, status] = await Promise.all([child.stderr.text(), child.exited]);
  if (status !== 0) throw new Error(shown(complaint.trim()) || `the copying process ended with ${status}`);
}

/** Connects a reader with a writer, and waits for both. */
async function pipe(source: Child, make: (input: ReadableStream) => Child): Promise<void> {
  const target = make(source.stdout as unknown as ReadableStream);
  const failures: unknown[] = [];
  const note = (error: unknown): void => void failures.push(error);
  // A writer that fails ends the reader; its complaint comes first then.
  await run(target).catch((error: unknown) => {
    note(error);
    source.kill("SIGKILL");
  });
  await run(source).catch(note);
  if (failures.length > 0) throw failures[0];
}
