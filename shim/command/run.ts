/** The serving process at work: the one place where the shim's objects are wired. */

import { deadlines } from "../../proto/deadlines.ts";
import { messageOf, toStatus } from "../../proto/errdefs.ts";
import { Server } from "../../proto/ttrpc/server.ts";
import { Reaper } from "../linux/reaper.ts";
import { log } from "../log.ts";
import { Events } from "../task/events.ts";
import { Publisher } from "../task/publisher.ts";
import { TaskService } from "../task/service.ts";
import { Trimmer } from "../trim.ts";

/** What the beginning of the serving process has found out. */
export interface Setting {
  readonly id: string;
  readonly namespace: string;
  /** Of the socket. */
  readonly path: string;
  /** Of containerd's ttrpc socket, for events; empty when there is none. */
  readonly ttrpcPath: string;
  /** Stops listening and removes the socket. */
  readonly stopListening: () => void;
}

/** Wires everything. @returns the server, ready for connections, and what shows the shim's state */
export function run(setting: Setting): { server: Server; dump: () => object } {
  const server = new Server({
    mapError: toStatus,
    onError: (error, where) => log.warn(`${where}: ${messageOf(error)}`),
  });
  const publisher = new Publisher(setting.ttrpcPath, setting.namespace);
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
    setting.stopListening();
    await Promise.all([publisher.flush(), server.shutdown({ graceMs })]);
    if (publisher.length > 0) log.error(`${publisher.length} events could not be sent before the end`);
    log.debug("shim ends");
    process.exit(0);
  };
  const events = new Events((topic, value) => publisher.publish(topic, value));
  const host = { namespace: setting.namespace, reaper, events };
  const service = new TaskService(
    host,
    () => void end(deadlines.shutdown),
    () => trimmer.touch(),
    // What was under way when the daemon died may have been the last.
    () => watchOrphan(),
  );
  // A shim that nobody talks to and that has no container has been forgotten (R06, R09).
  const watchOrphan = (): void => {
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

  const dump = () => ({
    pid: process.pid,
    id: setting.id,
    namespace: setting.namespace,
    socket: setting.path,
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
  return { server, dump };
}
