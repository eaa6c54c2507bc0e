/** An application as its file says it, with every variable filled in and every file of variables read. Plain data. */

import type { MountOption, RunOptions } from "../container/options.ts";

/** What a service waits for before it starts. */
export interface ServiceDependency {
  readonly service: string;
  readonly condition: "started" | "healthy" | "completed";
  /** False: a service that is not there is not waited for. */
  readonly isRequired: boolean;
  /** True: the service starts anew when the other one is made anew. */
  readonly restart: boolean;
}

/** A network that a service is in. */
export interface ServiceNetwork {
  /** Its key in the file. */
  readonly key: string;
  readonly aliases: readonly string[];
  readonly ip?: string;
  readonly mac?: string;
}

/** One service: what all of its containers are made with. */
export interface Service {
  readonly name: string;
  /** In place of the name that berth makes. */
  readonly containerName?: string;
  /** Containers of it. */
  readonly replicas: number;
  readonly dependsOn: readonly ServiceDependency[];
  readonly networks: readonly ServiceNetwork[];
  /** Mounts of volumes name them by their keys in the file. */
  readonly options: Omit<RunOptions, "name" | "networks" | "app" | "dependsOn">;
}

/** A network of the application. */
export interface AppNetwork {
  /** Its name on the machine. */
  readonly name: string;
  /** True: it is somebody else's, and must be there. */
  readonly isExternal: boolean;
  /** No way out of the machine. */
  readonly isInternal: boolean;
  readonly subnet?: string;
  readonly gateway?: string;
  readonly ipRange?: string;
}

/** A volume of the application. */
export interface AppVolume {
  /** Its name on the machine. */
  readonly name: string;
  readonly isExternal: boolean;
}

/** An application. */
export interface Application {
  readonly name: string;
  /** In order of their dependencies: what is waited for comes first. */
  readonly services: readonly Service[];
  /** By key of the file; those that a service uses. */
  readonly networks: Readonly<Record<string, AppNetwork>>;
  readonly volumes: Readonly<Record<string, AppVolume>>;
}

/** A mount of a service whose volume has a name. */
export type NamedVolume = Extract<MountOption, { type: "volume" }> & { readonly source: string };
