/** What containers, networks and volumes an application means. Pure. */

import { labels as names } from "../container/labels.ts";
import type { MountOption, NetworkAttachment, RunOptions } from "../container/options.ts";
import { hashOf } from "./canonical.ts";
import type { Application, AppNetwork, Service } from "./model.ts";

/** What one container is made from: kept by its hash, so that a later version can be compared with it key by key. */
export interface Made {
  readonly options: Omit<RunOptions, "app">;
  /** Digest of the image; undefined when it is not here yet. */
  readonly digest?: string;
}

/** A container that is to be there. */
export interface DesiredContainer extends Made {
  readonly id: string;
  readonly service: string;
  /** Of {@link Made}. */
  readonly hash: string;
  /** Ids of containers whose being made anew makes this one anew. */
  readonly followed: readonly string[];
}

/** What is to be there. */
export interface Desired {
  readonly app: string;
  /** What is waited for comes first. */
  readonly containers: readonly DesiredContainer[];
  readonly networks: readonly AppNetwork[];
  /** Names on the machine of volumes that are the application's own. */
  readonly volumes: readonly string[];
  /** Volumes that must be there. */
  readonly externalVolumes: readonly string[];
}

/**
 * The containers of an application.
 * @param digests of images, by their references as the file has them
 */
export function desiredOf(application: Application, digests: Readonly<Record<string, string>>): Desired {
  const idsOf = new Map(application.services.map((service) => [service.name, containerIds(application.name, service)]));
  const containers = application.services.flatMap((service) =>
    (idsOf.get(service.name) ?? []).map((id, index): DesiredContainer => {
      const digest = Object.hasOwn(digests, service.options.image) ? digests[service.options.image] : undefined;
      const options = optionsOf(application, service, { id, index }, idsOf);
      const made: Made = { options, ...(digest === undefined ? {} : { digest }) };
      const followed = service.dependsOn.flatMap((other) => (other.restart ? (idsOf.get(other.service) ?? []) : []));
      return { id, service: service.name, hash: hashOf(made), followed, ...made };
    }),
  );
  const volumes = Object.values(application.volumes);
  return {
    app: application.name,
    containers,
    networks: Object.values(application.networks),
    volumes: volumes.filter(({ isExternal }) => !isExternal).map(({ name }) => name),
    externalVolumes: volumes.filter(({ isExternal }) => isExternal).map(({ name }) => name),
  };
}

/** `APP-SERVICE-NUMBER`, or the one name that the service asks for. */
function containerIds(app: string, { name, containerName, replicas }: Service): string[] {
  return Array.from({ length: replicas }, (_, index) => containerName ?? `${app}-${name}-${index + 1}`);
}

function optionsOf(
  application: Application,
  service: Service,
  { id, index }: { id: string; index: number },
  idsOf: ReadonlyMap<string, readonly string[]>,
): Made["options"] {
  const { options, networks, dependsOn } = service;
  const waits = dependsOn.flatMap(({ service: other, condition }) =>
    (idsOf.get(other) ?? []).map((one) => ({ id: one, condition })),
  );
  return {
    ...options,
    name: id,
    labels: {
      ...options.labels,
      [names.composeProject]: application.name,
      [names.composeService]: service.name,
      "com.docker.compose.container-number": String(index + 1),
    },
    ...(options.mounts === undefined
      ? {}
      : { mounts: options.mounts.map((mount) => mountOf(application, service, mount)) }),
    ...(networks.length === 0 ? {} : { networks: networks.map((one) => attachmentOf(application, service, one, id)) }),
    ...(waits.length === 0 ? {} : { dependsOn: waits }),
    restart: options.restart ?? { name: "no" },
  };
}

/** Volumes by their names on the machine. One without a name is named after its place: it must outlive the container. */
function mountOf(application: Application, service: Service, mount: MountOption): MountOption {
  if (mount.type !== "volume") return mount;
  const { source } = mount;
  if (source !== undefined) return { ...mount, source: application.volumes[source]?.name ?? source };
  return { ...mount, source: `${application.name}_${service.name}_${hashOf(mount.target).slice(0, 12)}` };
}

function attachmentOf(
  application: Application,
  service: Service,
  { key, aliases, ip, mac }: Service["networks"][number],
  id: string,
): NetworkAttachment {
  const all = [...new Set([service.name, ...aliases])].filter((alias) => alias !== id);
  return {
    name: application.networks[key]?.name ?? key,
    aliases: all,
    ...(ip === undefined ? {} : { ip }),
    ...(mac === undefined ? {} : { mac }),
  };
}
