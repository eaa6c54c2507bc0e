/** The daemon: the one place where its rooms are wired together. */

import { join } from "node:path";
import { messageOf } from "../proto/errdefs.ts";
import type { CheckRecords } from "./check/records.ts";
import { packRuntimeOptions } from "./config/runtime-options.ts";
import { type Config, withoutSecrets } from "./config.ts";
import { ContentStore } from "./content/store.ts";
import { isWhole } from "./content/whole.ts";
import { openDeltas } from "./delta/open.ts";
import { Diff } from "./diff/diff.ts";
import { DiskRoom } from "./disk/room.ts";
import { EdgeRooms } from "./edge.ts";
import { Exchange } from "./event/exchange.ts";
import { Collector } from "./gc/collector.ts";
import type { Removed } from "./gc/sweep.ts";
import { GrpcServer } from "./grpc/server.ts";
import { Aside } from "./host/aside.ts";
import { takePlaces } from "./host/lock.ts";
import { clearSocket, restrictSocket } from "./host/socket.ts";
import { Trimmer } from "./host/trim.ts";
import { Transfers } from "./image/transfer.ts";
import { apiRevision, apiVersion } from "./introspection/version.ts";
import type { LogWriter } from "./log/log.ts";
import { CallMetrics } from "./metrics/calls.ts";
import { Collections } from "./metrics/collections.ts";
import { registerServices } from "./services.ts";
import { Activations } from "./snapshot/activation/activations.ts";
import type { Barrier } from "./snapshot/barrier.ts";
import { SnapshotService } from "./snapshot/service.ts";
import { openSnapshotters } from "./snapshot/snapshotters.ts";
import { Backup } from "./store/backup.ts";
import { Containers } from "./store/containers.ts";
import type { Database } from "./store/database.ts";
import { Images } from "./store/images.ts";
import { Leases } from "./store/leases.ts";
import { namesPath } from "./store/names.ts";
import { Namespaces } from "./store/namespaces.ts";
import { BACKUP, openDatabase } from "./store/open.ts";
import { Sandboxes } from "./store/sandboxes.ts";
import { TaskRoom } from "./task/room.ts";

/** Calls that still run when the daemon is told to end have this long. */
const STOP_GRACE_MS = 1000;
/** A check waits this long for layers that are on their way to disk. */
const SETTLE_MS = 5000;

/** A running daemon. */
export class Daemon {
  readonly #config: Config;
  readonly #log: LogWriter;
  readonly #database: Database;
  readonly #backup: Backup;
  readonly #server: GrpcServer;
  readonly #exchange = new Exchange();
  readonly #trimmer = new Trimmer();
  readonly #calls: CallMetrics;
  readonly #collections = new Collections();
  #aside: Aside | undefined;
  #content: ContentStore | undefined;
  #snapshots: SnapshotService | undefined;
  #collector: Collector | undefined;
  #tasks: TaskRoom | undefined;
  #containers: Containers | undefined;
  #edge: EdgeRooms | undefined;

  private constructor(config: Config, log: LogWriter, database: Database) {
    this.#config = config;
    this.#log = log;
    this.#database = database;
    this.#backup = new Backup({
      database,
      path: join(config.root, BACKUP),
      namesPath: namesPath(config.root),
      onError: (error) => log.warn("the database could not be copied", { error: messageOf(error) }),
    });
    const { maxRecvMessageSize: receive, maxSendMessageSize: send } = config.grpc;
    this.#calls = new CallMetrics(() => this.#trimmer.touch());
    this.#server = new GrpcServer((...method) => this.#calls.method(...method), { receive, send });
  }

  /**
   * Starts a daemon; when this resolves, clients can connect.
   * @throws LockedError when another daemon has root or state; Error when the socket cannot be made
   */
  static async start(config: Config, log: LogWriter): Promise<Daemon> {
    const { root, state } = config;
    const locks = takePlaces(config);
    log.info("starting berthd", { version: apiVersion, pid: process.pid, root, state });
    let daemon: Daemon | undefined;
    try {
      await clearSocket(config.grpc.address);
      daemon = new Daemon(config, log, await openDatabase({ root, state, reserve: config.disk.reserve, log }));
      await daemon.#wire();
      await daemon.#listen();
      return daemon;
    } catch (error) {
      await daemon?.stop();
      for (const lock of locks) lock.release();
      throw error;
    }
  }

  /** What the daemon is doing, for people. */
  async state(): Promise<Readonly<Record<string, unknown>>> {
    const tasks = (await this.#tasks?.tasks.list()) ?? [];
    return {
      pid: process.pid,
      uptimeSeconds: Math.round(process.uptime()),
      config: withoutSecrets(this.#config),
      memory: process.memoryUsage(),
      calls: this.#calls.state,
      events: this.#exchange.depth,
      tasks: tasks.map(({ namespace, id, shim }) => ({
        namespace,
        id,
        shim: shim.endpoint.address,
        open: shim.isOpen,
      })),
      collections: this.#collections.state,
      log: this.#log.state,
    };
  }

  /** What Prometheus is told. */
  async #metrics(): Promise<string> {
    const [room, containers] = [this.#tasks, this.#containers];
    const [{ scrape }, { meteredTasks }] = await Promise.all([
      import("./metrics/scrape.ts"),
      import("./metrics/tasks.ts"),
    ]);
    return scrape({
      version: apiVersion,
      revision: apiRevision,
      root: this.#config.root,
      calls: this.#calls,
      collections: this.#collections,
      tasks: async () => (room && containers ? meteredTasks(await room.tasks.list(), containers) : []),
      events: () => this.#exchange.depth,
      log: () => this.#log.state,
      edge: async () => (await this.#edge?.families()) ?? [],
    });
  }

  /** Registers every service. */
  async #wire(): Promise<void> {
    const root = this.#config.root;
    const database = this.#database;
    const publisher = this.#exchange;
    // The collector itself needs the rooms that are made further down.
    const collector = { schedule: () => this.#collector?.schedule(), collect: async () => this.#collector?.collect() };
    const disk = new DiskRoom({ config: this.#config, database, exchange: this.#exchange, log: this.#log });
    const namespaces = new Namespaces(database, publisher);
    // And the barrier, those of the snapshots.
    const settled = async (...snapshot: Parameters<Barrier["settled"]>) =>
      this.#snapshots?.barrier.settled(...snapshot);
    const allDecided = async () => this.#snapshots?.barrier.allDecided();
    const leases = new Leases({ database, namespaces, collector, settled });
    const survives = async (namespace: string, digest: string): Promise<void> => {
      // Its blobs are there, and stay until its layers are on disk.
      if (this.#content !== undefined && isWhole(this.#content.records, namespace, digest)) return;
      await allDecided();
    };
    const images = new Images({ database, publisher, namespaces, leases, collector, survives, backup: this.#backup });
    const admit = (): Promise<void> => disk.admit("container");
    const containers = new Containers({ database, publisher, namespaces, collector, admit, settled });
    const sandboxes = new Sandboxes({ database, namespaces });
    const content = await ContentStore.open({
      directory: join(root, "io.containerd.content.v1.content"),
      database,
      leases,
      namespaces,
      publisher,
      admit: () => disk.admit("content"),
      allDecided,
      onError: (what, error) => this.#log.warn(what, { error: messageOf(error) }),
    });
    this.#content = content;
    const proxies = [...this.#config.proxyPlugins].filter(([, { type }]) => type === "snapshot");
    const snapshotters = openSnapshotters({
      database,
      root,
      log: this.#log,
      proxies: new Map(proxies.map(([id, { address }]) => [id, address])),
    });
    const snapshots = new SnapshotService({
      database,
      leases,
      namespaces,
      publisher,
      snapshotters: new Map(snapshotters.map(({ id, snapshotter }) => [id, snapshotter])),
      log: this.#log,
    });
    snapshots.recover();
    const activations = new Activations({
      database,
      leases,
      namespaces,
      directory: join(this.#config.state, "io.containerd.mount-manager.v1.bolt", "t"),
      roots: [root],
      log: this.#log,
    });
    activations.recover().catch((error) => this.#log.warn("cannot take old mounts away", { error }));
    this.#snapshots = snapshots;
    this.#collector = new Collector({
      database,
      publisher,
      content,
      waste: content.waste,
      snapshots,
      allDecided,
      policy: this.#config.gc,
      onError: (what, error) => this.#log.warn(what, { error: messageOf(error) }),
      onCollected: (ms, removed, error) => this.#collected(ms, removed, error),
    });
    const diff = new Diff({
      mountPoint: join(this.#config.state, "layer"),
      limits: { bytes: this.#config.diff.maxSize, entries: this.#config.diff.maxEntries },
    });
    const transfers = new Transfers({
      ...{ content, images, snapshots, leases, diff },
      defaultSnapshotter: this.#config.snapshotter.default,
      parallel: this.#config.registry.maxConcurrentDownloads,
      ...openDeltas(this.#config, images, this.#log),
    });
    const tasks = await TaskRoom.open(this.#config, { exchange: this.#exchange, containers, log: this.#log });
    this.#tasks = tasks;
    const configuredOptions = (name: string) =>
      packRuntimeOptions(name, this.#config.runtimes.get(name)?.options ?? {});
    this.#containers = containers;

    const rooms = {
      ...{ config: this.#config, log: this.#log, exchange: this.#exchange },
      ...{ namespaces, leases, images, containers, sandboxes, content, diff },
      ...{ snapshots, snapshotters, activations, transfers, tasks, collector, configuredOptions },
    };
    registerServices(this.#server, rooms);
    this.#edge = EdgeRooms.open({ ...rooms, server: this.#server, database, disk });
  }

  /** Records for a check, when layers are on disk, or it is clear that they are not. */
  async #records(): Promise<CheckRecords> {
    const settled = this.#snapshots?.barrier.allSettled().catch(() => undefined);
    await Promise.race([settled, Bun.sleep(SETTLE_MS)]);
    return (await import("./check/records.ts")).readRecords(this.#database);
  }

  #collected(ms: number, removed: Removed | undefined, error: unknown): void {
    this.#collections.ended(ms, removed === undefined);
    if (removed === undefined) this.#log.error("garbage collection failed", { error: messageOf(error) });
    else if (Object.values(removed).some((count) => count > 0)) {
      this.#log.debug("garbage collected", { ms: Math.round(ms), ...removed });
    }
  }

  async #listen(): Promise<void> {
    const { grpc } = this.#config;
    this.#trimmer.touch();
    const sources = {
      state: () => this.state(),
      metrics: () => this.#metrics(),
      records: () => this.#records(),
    };
    this.#aside = await Aside.start(this.#config, sources, this.#log);
    await this.#edge?.listen();
    await clearSocket(grpc.address);
    await this.#server.listen(grpc.address);
    restrictSocket(grpc.address, grpc);
    this.#log.info("serving...", { address: grpc.address });
  }

  /** Ends all containers in order, and starts none any more: the machine goes down. */
  async halt(): Promise<void> {
    await this.#edge?.upkeep.monitor.halt();
  }

  /** Ends: clients are cut off, containers live on. The locks end with the process. */
  async stop(): Promise<void> {
    this.#trimmer.stop();
    await Promise.all([this.#server.stop(STOP_GRACE_MS), this.#aside?.stop()]);
    await this.#edge?.stop();
    await this.#tasks?.stop();
    await this.#collector?.close();
    await this.#content?.close();
    await this.#snapshots?.close();
    await this.#backup.close();
    this.#database.close();
  }
}
