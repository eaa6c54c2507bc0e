/** What applications do on the machine: the one interface between their plans and the daemon's rooms. */

import type { HealthConfig } from "../container/health.ts";
import type { RunOptions } from "../container/options.ts";
import type { Sign } from "./judge.ts";
import type { AppNetwork } from "./model.ts";

/** A container that is there. */
export interface MachineContainer {
  readonly id: string;
  readonly image: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** How a container does. */
export interface ContainerStatus {
  readonly status: "running" | "exited" | "created" | "paused" | "missing";
  /** Empty without a check. */
  readonly health: string;
  /** Of one that has ended. */
  readonly exitStatus: number | undefined;
}

/** Why a container that is to run does not. */
export interface Trouble {
  /** False: it waits for others. */
  readonly isError: boolean;
  /** For people. */
  readonly what: string;
}

/** A step of a pull, as the Transfer service tells it. */
export interface PullStep {
  readonly event: string;
  readonly name: string;
  readonly progress: number;
  readonly total: number;
}

export type PullTell = (step: PullStep) => void;

/** The machine. Everything is in a namespace; what fails throws a ContainerdError. */
export interface Machine {
  /** Containers of an application. */
  containers(namespace: string, app: string): Promise<readonly MachineContainer[]>;
  /** A container by its id. */
  container(namespace: string, id: string): Promise<MachineContainer | undefined>;
  status(namespace: string, id: string): Promise<ContainerStatus>;
  /** The check that a container has. */
  health(container: MachineContainer): HealthConfig | undefined;
  /** What was wrong with the last start of a container, or what it waits for. */
  trouble(namespace: string, id: string): Trouble | undefined;

  /**
   * Sees to it that an image is here.
   * @param digest the one that it must be; undefined for whatever the reference names
   * @returns its digest
   */
  ensureImage(
    namespace: string,
    image: Pick<RunOptions, "image" | "pull" | "platform">,
    digest: string | undefined,
    tell: PullTell,
    signal: AbortSignal,
  ): Promise<string>;
  /** The digest of an image that is here. */
  digest(namespace: string, image: string): Promise<string | undefined>;
  /** Keeps images from collection and eviction, and lets go of those that were kept and are not named. */
  keepImages(namespace: string, images: readonly { readonly image: string; readonly digest: string }[]): Promise<void>;

  networks(): Promise<ReadonlySet<string>>;
  /** Networks that were made for an application. */
  networksOf(app: string): Promise<ReadonlySet<string>>;
  createNetwork(app: string, network: AppNetwork): Promise<void>;
  removeNetwork(name: string): Promise<void>;
  volumes(namespace: string): Promise<ReadonlySet<string>>;
  removeVolume(namespace: string, name: string): Promise<void>;

  /** Makes the record of a container; the restart monitor starts it. @param digest of its image */
  create(
    namespace: string,
    options: RunOptions,
    digest: string | undefined,
    signal: AbortSignal,
  ): Promise<readonly string[]>;
  /** Changes what a running container can take over. @param hasLimits limits of the kernel are among it */
  update(namespace: string, options: RunOptions, hasLimits: boolean): Promise<void>;
  /** Asks the restart monitor to start a container that was stopped. */
  start(namespace: string, id: string): Promise<void>;
  /** Ends a container in its own way and removes it; its volumes stay. One that is not there is as good. */
  remove(namespace: string, id: string): Promise<void>;

  /** Starts, ends and health from now on. */
  signs(namespace: string, signal: AbortSignal): AsyncIterable<Sign>;
  /** Tells the world. */
  publish(namespace: string, event: { name: string; revision: number; what: string; reason: string }): void;
}
