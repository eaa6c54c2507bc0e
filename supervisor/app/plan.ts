/** The smallest change from what is there to what is to be there. Pure. */

import { changesLimits, fitsInPlace, type KeyChange, keyChanges } from "./changes.ts";
import type { Desired, DesiredContainer, Made } from "./desired.ts";
import type { AppNetwork } from "./model.ts";

/** A container that is there. */
export interface FoundContainer {
  readonly id: string;
  /** The application that it is of; undefined for one of nobody. */
  readonly app: string | undefined;
  readonly service: string;
  readonly hash: string;
  /** What it was made from; undefined when that is not known. */
  readonly made: Made | undefined;
  /** False for one that was stopped by hand. */
  readonly isWanted: boolean;
}

/** What is there. */
export interface Found {
  /** Containers of the application, and those that have the name of one that is to be there. */
  readonly containers: readonly FoundContainer[];
  /** Names of all networks. */
  readonly networks: ReadonlySet<string>;
  /** Networks that were made for the application. */
  readonly ownNetworks: ReadonlySet<string>;
  readonly volumes: ReadonlySet<string>;
}

/** One step. */
export type Step =
  | { readonly kind: "network"; readonly network: AppNetwork }
  | { readonly kind: "volume"; readonly name: string }
  | { readonly kind: "create" | "start"; readonly container: DesiredContainer }
  | { readonly kind: "recreate"; readonly container: DesiredContainer; readonly changes: readonly KeyChange[] }
  | {
      readonly kind: "update";
      readonly container: DesiredContainer;
      readonly changes: readonly KeyChange[];
      readonly hasLimits: boolean;
    }
  | { readonly kind: "remove"; readonly id: string; readonly service: string }
  | { readonly kind: "remove-network"; readonly name: string };

/** What is done, in order, and what stands in its way. */
export interface Plan {
  readonly steps: readonly Step[];
  /** Containers that stay as they are. */
  readonly kept: readonly DesiredContainer[];
  /** Why it cannot be done: one sentence each. */
  readonly obstacles: readonly string[];
}

/** Compares what is to be there with what is there. */
export function planOf(desired: Desired, found: Found): Plan {
  const obstacles: string[] = [];
  const steps: Step[] = [];
  const kept: DesiredContainer[] = [];
  for (const network of desired.networks) {
    if (found.networks.has(network.name)) continue;
    if (network.isExternal)
      obstacles.push(`network ${network.name} is external and not there: berth network create ${network.name}`);
    else steps.push({ kind: "network", network });
  }
  for (const name of desired.externalVolumes) {
    if (!found.volumes.has(name))
      obstacles.push(`volume ${name} is external and not there: berth volume create ${name}`);
  }
  for (const name of desired.volumes) if (!found.volumes.has(name)) steps.push({ kind: "volume", name });
  const wanted = new Set(desired.containers.map(({ id }) => id));
  const byId = new Map(found.containers.map((container) => [container.id, container]));
  // What goes makes room for ports and names of what comes; what waits for others goes before them.
  for (const { id, app, service } of found.containers.toReversed()) {
    if (app === desired.app && !wanted.has(id)) steps.push({ kind: "remove", id, service });
  }
  const renewed = new Set<string>();
  for (const container of desired.containers) {
    const there = byId.get(container.id);
    if (there !== undefined && there.app !== desired.app) {
      const whose = there.app === undefined ? "is not of an application" : `is of the application ${there.app}`;
      obstacles.push(
        `container ${container.id} is there and ${whose}: remove it (berth rm -f ${container.id}), or give the service another container_name`,
      );
      continue;
    }
    const step = stepOf(
      container,
      there,
      container.followed.find((id) => renewed.has(id)),
    );
    if (step === undefined) kept.push(container);
    else steps.push(step);
    if (step?.kind === "recreate") renewed.add(container.id);
  }
  const names = new Set(desired.networks.map(({ name }) => name));
  for (const name of found.ownNetworks) if (!names.has(name)) steps.push({ kind: "remove-network", name });
  return { steps, kept, obstacles };
}

function stepOf(
  container: DesiredContainer,
  there: FoundContainer | undefined,
  followed: string | undefined,
): Step | undefined {
  if (there === undefined) return { kind: "create", container };
  if (followed !== undefined) {
    return {
      kind: "recreate",
      container,
      changes: [{ key: "depends_on", before: followed, after: `${followed}, made anew` }],
    };
  }
  if (there.hash === container.hash) return there.isWanted ? undefined : { kind: "start", container };
  if (there.made === undefined) {
    return { kind: "recreate", container, changes: [{ key: "hash", before: there.hash, after: container.hash }] };
  }
  const changes = keyChanges(there.made, container);
  if (!fitsInPlace(changes)) return { kind: "recreate", container, changes };
  return { kind: "update", container, changes, hasLimits: changesLimits(changes) };
}
