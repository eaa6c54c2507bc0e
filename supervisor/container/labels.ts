/** Labels of containers and images that berth reads and writes: what a container is to be, kept where every client sees it. */

import { restartLabels } from "../restart/policy.ts";

/** Labels of a container. */
export const labels = {
  /** Restarts: containerd's own labels, read by the restart monitor. */
  restart: restartLabels,
  /** URI of the log that the shim writes. */
  log: "berth/log",
  /** A NetworkRequest as JSON; an annotation of the OCI spec has the same name and value. */
  network: "berth/network",
  /** A HealthConfig as JSON. */
  health: "berth/health",
  /** starting, healthy or unhealthy: written by the daemon when it changes. */
  healthStatus: "berth/health.status",
  /** What must be there before this container starts: JSON of {@link Dependency}[]. */
  dependsOn: "berth/depends-on",
  /** The application that the container is of, its service there, and what it was made from. */
  app: "berth/app",
  appService: "berth/app.service",
  appRevision: "berth/app.revision",
  appHash: "berth/app.hash",
  composeProject: "com.docker.compose.project",
  composeService: "com.docker.compose.service",
  /** Number of the signal that stops it, and milliseconds until it is killed. */
  stopSignal: "berth/stop-signal",
  stopTimeout: "berth/stop-timeout",
  /** `true`: the container goes when its task has ended, whoever started it (`run --rm`). */
  autoRemove: "berth/auto-remove",
  /** Names of the anonymous volumes that go with the container, as a JSON list. */
  anonymousVolumes: "berth/anonymous-volumes",
  /** Exit status of the task that ended last and is deleted, and when that was (RFC 3339). */
  exitStatus: "berth/exit-status",
  exitedAt: "berth/exited-at",
  /** `host`, `none` or `container:ID` where there are no networks. */
  networkMode: "berth/network-mode",
  /** True where somebody may write to its standard input. */
  stdin: "berth/stdin",
} as const;

/** Labels of an image: collection never takes one that is pinned. */
export const imageLabels = { pinned: "io.cri-containerd.pinned", pinnedValue: "pinned" } as const;

/** Something that must have come about before a container starts. */
export interface Dependency {
  readonly id: string;
  readonly condition: "started" | "healthy" | "completed";
}
