/**
 * The serving process, up to its answer: it finds out where to listen, listens, and says so. `start` runs it with the same arguments, stdin and directory; what it prints on stdout is the answer of `start`, and
 * what it prints on stderr is its error. After the answer nothing of the caller is held: no descriptor, no session.
 */

import { messageOf } from "../../proto/errdefs.ts";
import { checkIdentifier } from "../../proto/identifiers.ts";
import { Bundle, groupOf } from "../container/bundle.ts";
import { type Options, parseOptions } from "../container/options.ts";
import { type Connection, listen } from "../linux/connection.ts";
import {
  close,
  duplicateTo,
  isInheritable,
  listDirectory,
  lockDirectory,
  makeDirectories,
  O,
  open,
  readAll,
  readFile,
  removeFile,
  writeAll,
  writeFile,
} from "../linux/file.ts";
import { setName, shareCore } from "../linux/process.ts";
import { log } from "../log.ts";
import { addressOf, answers, checkSocketPath, defaultSocketDirectory, pathOf, socketPath } from "../socket.ts";
import { bootstrapAnswer, MAX_INPUT_BYTES, parseBootstrap } from "./bootstrap.ts";
import type { Flags } from "./flags.ts";

/**
 * Serves the container's bundle in the working directory until nobody needs the shim any more.
 * @param input what `start` would read from stdin, which is read here when it is not given
 * @throws Error
 */
export async function serve(flags: Flags, input: Uint8Array = readAll(0, MAX_INPUT_BYTES)): Promise<void> {
  const directory = process.cwd();
  const bundle = new Bundle(directory);
  checkIdentifier(flags.namespace, "namespace");
  checkIdentifier(flags.id, "container id");
  const bootstrap = parseBootstrap(input, flags.id, flags.namespace);
  const options = parseOptions(bootstrap.options);
  const spec = bundle.readSpec();
  const group = groupOf(spec, flags.id);
  const grpcAddress = bootstrap.grpcAddress ?? flags.address;
  const sockets = bootstrap.socketDirectory ?? defaultSocketDirectory(process.getuid?.() ?? 0);
  const path =
    flags.socket === "" ? socketPath(sockets, grpcAddress, flags.namespace, group) : checkSocketPath(flags.socket);
  makeDirectories(path.slice(0, path.lastIndexOf("/")), 0o700);

  const answer = bootstrapAnswer(bootstrap.modern, addressOf(path));
  const early: Connection[] = [];
  let accept = (connection: Connection): void => {
    early.push(connection);
  };
  const stopListening = listenOrJoin(path, (connection) => accept(connection));
  if (stopListening === undefined) {
    // Another shim of the group serves this container too (SK-3); containerd finds it by our answer (ST-8, ST-11).
    bundle.writeAddress(addressOf(path));
    writeAll(1, answer);
    process.exit(0);
  }
  try {
    await settleIn(options);
    bundle.writeAddress(addressOf(path));
  } catch (error) {
    stopListening();
    throw error;
  }
  let dump = (): object => ({});
  if (flags.debug) {
    const { serveDebug } = await import("./debug.ts");
    serveDebug(socketPath(sockets, grpcAddress, flags.namespace, group, "debug"), () => dump());
  }
  writeAll(1, answer);
  letGo();
  // From here on the caller is gone: what `start` need not wait for is loaded while containerd finds its way to us.
  closeInherited();
  setName("containerd-shim");
  log.level = bootstrap.level ?? (flags.debug ? "debug" : "info");
  log.open(`${directory}/log`, { id: flags.id, namespace: flags.namespace });
  bundle.writeShimPid(process.pid);
  const { run } = await import("./run.ts");
  const shim = run({
    id: flags.id,
    namespace: flags.namespace,
    path,
    ttrpcPath: pathOf(addressOf(bootstrap.ttrpcAddress ?? Bun.env["TTRPC_ADDRESS"] ?? "")) ?? "",
    stopListening,
  });
  accept = (connection) => connection.serveBy(shim.server);
  dump = shim.dump;
  for (const connection of early) accept(connection);
}

/**
 * Listens at `path`. A socket that nobody answers is a dead shim's, and removed. Starts of one group take turns, so that
 * none takes away the socket that another has just made.
 * @returns the function that stops listening; undefined when a living shim answers there
 * @throws Error when it cannot listen
 */
function listenOrJoin(path: string, accept: (connection: Connection) => void): (() => void) | undefined {
  const turn = lockDirectory(path.slice(0, path.lastIndexOf("/")));
  const mask = process.umask(0o177);
  try {
    try {
      return listen(path, accept);
    } catch (error) {
      if (!isInUse(error)) throw error;
    }
    if (answers(path)) return undefined;
    removeFile(path);
    return listen(path, accept);
  } finally {
    process.umask(mask);
    close(turn);
  }
}

function isInUse(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EADDRINUSE";
}

/** Puts this process where it belongs: its cgroup, its OOM score, its scheduling group (ST-9). */
async function settleIn(options: Options): Promise<void> {
  try {
    const own = Number(readFile("/proc/self/oom_score_adj"));
    writeFile("/proc/self/oom_score_adj", String(Math.min(1000, own + 1)));
  } catch (error) {
    log.debug(`oom score: ${messageOf(error)}`);
  }
  if (options.shimCgroup !== "") {
    const { joinCgroup } = await import("../linux/cgroup/control.ts");
    await joinCgroup(options.shimCgroup, process.pid);
  }
  if (Bun.env["SCHED_CORE"]) shareCore();
}

/** Closes what the caller's caller left open in us; our runtime's own descriptors are all close-on-exec (ST-10). */
function closeInherited(): void {
  for (const name of listDirectory("/proc/self/fd")) {
    const fd = Number(name);
    if (fd > 2 && isInheritable(fd)) close(fd);
  }
}

/** Gives up stdin, stdout and stderr: whoever reads them sees their end. */
function letGo(): void {
  const nothing = open("/dev/null", O.RDWR);
  for (const fd of [0, 1, 2]) duplicateTo(nothing, fd);
  close(nothing);
}
