/**
 * The serving process: the one place where the shim's objects are wired.
 *
 * `start` runs it with the same arguments, stdin and directory; what it prints on stdout is the answer of `start`, and
 * what it prints on stderr is its error. After the answer nothing of the caller is held: no descriptor, no session.
 */

import { deadlines } from "../../proto/deadlines.ts";
import { messageOf, toStatus } from "../../proto/errdefs.ts";
import { checkIdentifier } from "../../proto/identifiers.ts";
import { Server } from "../../proto/ttrpc/server.ts";
import { Bundle, groupOf } from "../container/bundle.ts";
import { type Options, parseOptions } from "../container/options.ts";
import { joinCgroup } from "../linux/cgroup/index.ts";
import { listen } from "../linux/connection.ts";
import {
  close,
  duplicateTo,
  isInheritable,
  listDirectory,
  makeDirectories,
  O,
  open,
  readAll,
  readFile,
  removeFile,
  writeAll,
  writeFile,
} from "../linux/file.ts";
import { setName } from "../linux/process.ts";
import { Reaper } from "../linux/reaper.ts";
import { log } from "../log.ts";
import { addressOf, answers, checkSocketPath, defaultSocketDirectory, pathOf, socketPath } from "../socket.ts";
import { Events } from "../task/events.ts";
import { Publisher } from "../task/publisher.ts";
import { TaskService } from "../task/service.ts";
import { Trimmer } from "../trim.ts";
import { bootstrapAnswer, MAX_INPUT_BYTES, parseBootstrap } from "./bootstrap.ts";
import type { Flags } from "./flags.ts";

/** Serves the container's bundle in the working directory until nobody needs the shim any more. @throws Error */
export async function serve(flags: Flags): Promise<void> {
  closeInherited();
  setName("containerd-shim");
  const directory = process.cwd();
  const bundle = new Bundle(directory);
  checkIdentifier(flags.namespace, "namespace");
  checkIdentifier(flags.id, "container id");
  const bootstrap = parseBootstrap(readAll(0, MAX_INPUT_BYTES), flags.id, flags.namespace);
  const options = parseOptions(bootstrap.options);
  const spec = bundle.readSpec();
  const group = groupOf(spec, flags.id);
  const grpcAddress = bootstrap.grpcAddress ?? flags.address;
  const sockets = bootstrap.socketDirectory ?? defaultSocketDirectory(process.getuid?.() ?? 0);
  const path =
    flags.socket === "" ? socketPath(sockets, grpcAddress, flags.namespace, group) : checkSocketPath(flags.socket);
  makeDirectories(path.slice(0, path.lastIndexOf("/")), 0o700);

  log.level = bootstrap.level ?? (flags.debug ? "debug" : "info");
  log.open(`${directory}/log`, { id: flags.id, namespace: flags.namespace });
  const server = new Server({
    mapError: toStatus,
    onError: (error, where) => log.warn(`${where}: ${messageOf(error)}`),
  });
  const answer = bootstrapAnswer(bootstrap.modern, addressOf(path));
  if (!listenOrJoin(server, path)) {
    // Another shim of the group serves this container too (SK-3); containerd finds it by our answer (ST-8, ST-11).
    bundle.writeAddress(addressOf(path));
    writeAll(1, answer);
    process.exit(0);
  }
  const ttrpcAddress = bootstrap.ttrpcAddress ?? Bun.env["TTRPC_ADDRESS"] ?? "";
  try {
    await settleIn(options);
    bundle.writeAddress(addressOf(path));
    bundle.writeShimPid(process.pid);
    run(server, path, flags, new Publisher(pathOf(addressOf(ttrpcAddress)) ?? "", flags.namespace));
  } catch (error) {
    stopListening();
    throw error;
  }
  if (flags.debug) {
    const { serveDebug } = await import("./debug.ts");
    serveDebug(socketPath(sockets, grpcAddress, flags.namespace, group, "debug"), () => dump());
  }
  writeAll(1, answer);
  letGo();
}

let stopListening: () => void = () => {};
let dump: () => object = () => ({});

/**
 * Listens at `path`. A socket that nobody answers is a dead shim's, and removed.
 * @returns false when a living shim answers there
 * @throws Error when it cannot listen
 */
function listenOrJoin(server: Server, path: string): boolean {
  for (let attempt = 0; ; attempt++) {
    const mask = process.umask(0o177);
    try {
      stopListening = listen(server, path);
      return true;
    } catch (error) {
      if (!isInUse(error) || attempt > 0) throw error;
    } finally {
      process.umask(mask);
    }
    if (answers(path)) return false;
    removeFile(path);
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
  if (options.shimCgroup !== "") await joinCgroup(options.shimCgroup, process.pid);
}

/** Wires everything and begins to serve. */
function run(server: Server, path: string, flags: Flags, publisher: Publisher): void {
  const reaper = new Reaper();
  reaper.start();
  const trimmer = new Trimmer();
  let ending = false;
  let orphanTimer: ReturnType<typeof setTimeout> | undefined;

  const end = async (graceMs: number) => {
    if (ending) return;
    ending = true;
    // The socket goes first, by the one who made it: whoever starts a container of this group now must not find a shim
    // that is leaving, and a successor's socket at the same path must not be taken away.
    stopListening();
    await Promise.all([publisher.flush(), server.shutdown({ graceMs })]);
    if (publisher.length > 0) log.error(`${publisher.length} events could not be sent before the end`);
    log.debug("shim ends");
    process.exit(0);
  };
  const events = new Events((topic, value) => publisher.publish(topic, value));
  const host = { namespace: flags.namespace, reaper, events };
  const service = new TaskService(
    host,
    () => void end(deadlines.shutdown),
    () => trimmer.touch(),
  );
  // A shim that nobody talks to and that has no container has been forgotten (R06, R09).
  const watchOrphan = () => {
    clearTimeout(orphanTimer);
    if (server.connections > 0 || !service.isEmpty) return;
    orphanTimer = setTimeout(() => {
      if (server.connections === 0 && service.isEmpty) void end(0);
    }, deadlines.orphan);
  };
  server.onIdleChange = (idle) => {
    if (!idle) publisher.wake();
    watchOrphan();
  };
  watchOrphan();
  const methods = service.methods();
  server.register("containerd.task.v2.Task", methods);
  server.register("containerd.task.v3.Task", methods);

  dump = () => ({
    pid: process.pid,
    id: flags.id,
    namespace: flags.namespace,
    socket: path,
    connections: server.connections,
    callsInFlight: server.inFlight,
    eventsQueued: publisher.length,
    children: reaper.size,
    containers: [...service.containers.values()].map((container) => container.dump()),
  });
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => void end(0));
  process.on("SIGUSR1", () => log.info(`state: ${JSON.stringify(dump())}`));
  process.on("uncaughtException", (error) => log.error(`uncaught: ${messageOf(error)}`, { stack: error.stack }));
  process.on("unhandledRejection", (error) => log.error(`unhandled: ${messageOf(error)}`));
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
