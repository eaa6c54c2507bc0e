/** The services of the daemon: each by its name, with the rooms that it asks. */

import { existsSync } from "node:fs";
import type { Config } from "./config.ts";
import type { ContentStore } from "./content/store.ts";
import type { Diff } from "./diff/diff.ts";
import type { Exchange } from "./event/exchange.ts";
import { containersService } from "./grpc/containers.ts";
import { contentService } from "./grpc/content.ts";
import { diffService } from "./grpc/diff.ts";
import { eventsService } from "./grpc/events.ts";
import { healthService } from "./grpc/health.ts";
import { imagesService } from "./grpc/images.ts";
import { introspectionService } from "./grpc/introspection.ts";
import { leasesService } from "./grpc/leases.ts";
import { mountsService } from "./grpc/mounts.ts";
import { namespacesService } from "./grpc/namespaces.ts";
import { sandboxControllerService } from "./grpc/sandbox-controller.ts";
import { sandboxStoreService } from "./grpc/sandbox-store.ts";
import type { GrpcServer } from "./grpc/server.ts";
import { snapshotsService } from "./grpc/snapshots.ts";
import { streamingService } from "./grpc/streaming.ts";
import { type TasksOptions, tasksService } from "./grpc/tasks.ts";
import { transferService } from "./grpc/transfer.ts";
import { versionService } from "./grpc/version.ts";
import { openRegistry } from "./image/registry/open.ts";
import { Streams } from "./image/stream/streams.ts";
import type { Transfers } from "./image/transfer.ts";
import { daemonUuid, pidNamespace } from "./introspection/identity.ts";
import { plugins } from "./introspection/plugins.ts";
import type { Log } from "./log/log.ts";
import type { Activations } from "./snapshot/activation/activations.ts";
import type { SnapshotService } from "./snapshot/service.ts";
import type { Containers } from "./store/containers.ts";
import type { Images } from "./store/images.ts";
import type { Leases } from "./store/leases.ts";
import type { Namespaces } from "./store/namespaces.ts";
import type { Sandboxes } from "./store/sandboxes.ts";
import { Checkpoints } from "./task/checkpoint.ts";
import type { TaskRoom } from "./task/room.ts";

/** The rooms of one daemon. */
export interface Rooms {
  readonly config: Config;
  readonly log: Log;
  readonly exchange: Exchange;
  readonly namespaces: Namespaces;
  readonly leases: Leases;
  readonly images: Images;
  readonly containers: Containers;
  readonly sandboxes: Sandboxes;
  readonly content: ContentStore;
  readonly diff: Diff;
  readonly snapshots: SnapshotService;
  readonly snapshotters: Parameters<typeof plugins>[0]["snapshotters"];
  readonly activations: Activations;
  readonly transfers: Transfers;
  readonly tasks: TaskRoom;
  readonly collector: Parameters<typeof leasesService>[1];
  readonly configuredOptions: NonNullable<TasksOptions["configuredOptions"]>;
}

/** Registers every service. */
export function registerServices(server: GrpcServer, rooms: Rooms): void {
  const { config, log, exchange, containers, content, diff, collector, snapshotters, tasks } = rooms;
  const streams = new Streams();
  const hostDirectory = (): string => config.registry.configPath.find((path) => existsSync(path)) ?? "";
  server
    .register("containerd.services.containers.v1.Containers", containersService(containers))
    .register("containerd.services.content.v1.Content", contentService(content))
    .register("containerd.services.diff.v1.Diff", diffService(diff, content))
    .register("containerd.services.events.v1.Events", eventsService(exchange))
    .register("containerd.services.images.v1.Images", imagesService(rooms.images, collector))
    .register(
      "containerd.services.introspection.v1.Introspection",
      introspectionService({
        uuid: daemonUuid(config.root),
        pidNamespace: pidNamespace(),
        plugins: plugins({
          ...{ root: config.root, state: config.state, snapshotters, gc: config.gc },
          defaultSnapshotter: config.snapshotter.default,
        }),
        runtimeInfo: (runtime, options) => tasks.runtimeInfo(runtime, options),
      }),
    )
    .register("containerd.services.leases.v1.Leases", leasesService(rooms.leases, collector))
    .register("containerd.services.mounts.v1.Mounts", mountsService(rooms.activations))
    .register("containerd.services.namespaces.v1.Namespaces", namespacesService(rooms.namespaces))
    .register("containerd.services.sandbox.v1.Controller", sandboxControllerService(tasks.sandboxes, exchange))
    .register("containerd.services.sandbox.v1.Store", sandboxStoreService(rooms.sandboxes))
    .register("containerd.services.snapshots.v1.Snapshots", snapshotsService(rooms.snapshots))
    .register(
      "containerd.services.tasks.v1.Tasks",
      tasksService({
        ...tasks,
        checkpoints: new Checkpoints(content, diff),
        containers,
        configuredOptions: rooms.configuredOptions,
        settled: (...snapshot) => rooms.snapshots.barrier.settled(...snapshot),
        log,
      }),
    )
    .register("containerd.services.streaming.v1.Streaming", streamingService(streams))
    .register(
      "containerd.services.transfer.v1.Transfer",
      transferService({
        transfers: rooms.transfers,
        streams,
        registry: (request) => openRegistry({ ...request, hostDirectory: request.hostDirectory || hostDirectory() }),
      }),
    )
    .register("containerd.services.version.v1.Version", versionService())
    .register("grpc.health.v1.Health", healthService());
}
