/**
 * The plugins that containerd 2.1 says it is made of, in its order: clients look some of them up to learn what the daemon
 * can do (snapshotters and what they export, policies of restart, platforms of runtimes), and `ctr plugins ls` prints all.
 */

import { join } from "node:path";
import type { containerd } from "../../proto/gen/supervisor.js";
import { parseFilters } from "../store/filter.ts";

/** A plugin as clients see it. */
export type Plugin = containerd.services.introspection.v1.Plugin.$Properties;

/** What a snapshotter tells about itself. */
export interface SnapshotterPlugin {
  /** Its name, such as `overlayfs`. */
  readonly id: string;
  /** Where its directories are; undefined for one in another process. */
  readonly root?: string | undefined;
  /** Such as `remap-ids`. */
  readonly capabilities?: readonly string[];
}

/** What the list depends on. */
export interface PluginsOptions {
  readonly root: string;
  readonly state: string;
  /** The snapshotter of an image whose client names none. */
  readonly defaultSnapshotter: string;
  readonly snapshotters: readonly SnapshotterPlugin[];
  /** When garbage is collected. */
  readonly gc: {
    readonly pauseThreshold: number;
    readonly deletionThreshold: number;
    readonly mutationThreshold: number;
    /** Milliseconds. */
    readonly scheduleDelay: number;
  };
}

/** Policies of restart that clients may ask for. */
const restartPolicies = ["no", "always", "on-failure", "unless-stopped"];

const architectures: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386", arm64: "arm64", arm: "arm" };

/** The platform of this machine, by the names of the image specification. */
export function hostPlatform(): containerd.types.Platform.$Properties {
  const architecture = architectures[process.arch] ?? process.arch;
  return { os: "linux", architecture, variant: architecture === "arm64" ? "v8" : "" };
}

/** The plugins of a daemon. */
export function plugins(options: PluginsOptions): Plugin[] {
  const platforms = [hostPlatform()];
  const { content, event, gc, lease, metadata, sandboxStore, service, shim, streaming, transfer, warning } = types;
  const grpc = (id: string, ...requires: string[]): Plugin => ({ type: "io.containerd.grpc.v1", id, requires });
  const serves = (id: string, ...requires: string[]): Plugin => ({ type: service, id: `${id}-service`, requires });
  return [
    { type: content, id: "content", exports: { root: join(options.root, "io.containerd.content.v1.content") } },
    { type: types.imageVerifier, id: "bindir" },
    { type: warning, id: "deprecations" },
    { type: event, id: "exchange" },
    ...options.snapshotters.map(({ id, root, capabilities = [] }) => ({
      type: types.snapshotter,
      id,
      platforms,
      exports: root === undefined ? {} : { root },
      capabilities: [...capabilities],
    })),
    { type: "io.containerd.monitor.task.v1", id: "cgroups", requires: [event], platforms },
    {
      type: metadata,
      id: "bolt",
      requires: [content, event, types.snapshotter],
      exports: {
        policy: "shared",
        path: join(options.root, "berth.db"),
        state: options.state,
        snapshotter: options.defaultSnapshotter,
      },
    },
    { type: gc, id: "scheduler", requires: [metadata], exports: gcExports(options.gc) },
    { type: types.differ, id: "walking", requires: [metadata], platforms },
    { type: lease, id: "manager", requires: [metadata, gc] },
    serves("containers", event, metadata),
    serves("content", metadata),
    serves("diff", types.differ),
    serves("images", metadata, gc, warning),
    serves("introspection", warning),
    serves("namespaces", event, metadata),
    serves("snapshots", metadata),
    { type: shim, id: "manager", requires: [event, metadata] },
    { ...runtimePlugin, requires: [shim], platforms },
    serves("tasks", event, types.runtime, metadata, "io.containerd.monitor.task.v1"),
    grpc("containers", service),
    grpc("content", service),
    grpc("diff", service),
    grpc("events", event),
    grpc("images", service),
    grpc("introspection", service),
    grpc("leases", lease),
    grpc("namespaces", service),
    { type: sandboxStore, id: "local", requires: [metadata] },
    { type: "io.containerd.sandbox.controller.v1", id: "shim", requires: [shim, event] },
    grpc("sandbox-controllers", "io.containerd.sandbox.controller.v1", event),
    grpc("sandboxes", sandboxStore),
    grpc("snapshots", service),
    { type: streaming, id: "manager", requires: [metadata] },
    grpc("streaming", streaming),
    grpc("tasks", service),
    {
      type: transfer,
      id: "local",
      requires: [lease, metadata, types.differ, types.imageVerifier, types.snapshotter],
    },
    grpc("transfer", transfer, streaming),
    grpc("version"),
    // Clients look for it by its id alone, under whichever type their containerd has it.
    {
      type: "io.containerd.monitor.container.v1",
      id: "restart",
      requires: [event, service],
      capabilities: restartPolicies,
    },
    grpc("healthcheck"),
  ];
}

/** The plugin that runtimes are asked of through. */
export const runtimePlugin = { type: "io.containerd.runtime.v2", id: "task" } as const;

function gcExports(policy: PluginsOptions["gc"]): Record<string, string> {
  const { pauseThreshold, deletionThreshold, mutationThreshold, scheduleDelay } = policy;
  return {
    PauseThreshold: String(pauseThreshold),
    DeletionThreshold: String(deletionThreshold),
    MutationThreshold: String(mutationThreshold),
    ScheduleDelay: scheduleDelay % 1000 === 0 ? `${scheduleDelay / 1000}s` : `${scheduleDelay}ms`,
  };
}

const types = {
  content: "io.containerd.content.v1",
  differ: "io.containerd.differ.v1",
  event: "io.containerd.event.v1",
  gc: "io.containerd.gc.v1",
  imageVerifier: "io.containerd.image-verifier.v1",
  lease: "io.containerd.lease.v1",
  metadata: "io.containerd.metadata.v1",
  runtime: "io.containerd.runtime.v2",
  sandboxStore: "io.containerd.sandbox.store.v1",
  service: "io.containerd.service.v1",
  shim: "io.containerd.shim.v1",
  snapshotter: "io.containerd.snapshotter.v1",
  streaming: "io.containerd.streaming.v1",
  transfer: "io.containerd.transfer.v1",
  warning: "io.containerd.warning.v1",
} as const;

/**
 * The plugins that one of the filters lets through; fields are `type` and `id`.
 * @throws ContainerdError InvalidArgument for a wrong filter
 */
export function filterPlugins(all: readonly Plugin[], filters: readonly string[]): Plugin[] {
  const filter = parseFilters(filters, (problem) => `invalid argument: ${problem}`);
  return all.filter(({ type, id }) =>
    filter(([first]) => {
      if (first === "type") return type || undefined;
      return first === "id" ? id || undefined : undefined;
    }),
  );
}
