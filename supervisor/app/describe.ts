/** Applications as clients see them. */

import type { berth } from "../../proto/gen/supervisor.js";
import { labels as names } from "../container/labels.ts";
import { timestampOf } from "../store/time.ts";
import type { Applications } from "./applications.ts";
import type { ContainerStatus, Machine, MachineContainer } from "./machine.ts";
import type { AppState, AppStore } from "./state.ts";
import type { FileProblem } from "./watch.ts";

type Application = berth.v1.Application.$Properties;

/** What an application is doing. */
export type AppStatus =
  | "applying"
  | "invalid"
  | "waiting"
  | "failed"
  | "rolled-back"
  | "running"
  | "degraded"
  | "stopped";

/** What descriptions are made of. */
export interface Describing {
  readonly applications: Applications;
  readonly machine: Machine;
  readonly store: AppStore;
  /** The directory that is watched; empty for none. */
  readonly directory: string;
  /** Files of the watched directory that cannot be used. */
  readonly problems: () => readonly FileProblem[];
}

/** One container with what it does. */
interface Member {
  readonly container: MachineContainer;
  readonly status: ContainerStatus;
}

/** An application. */
export async function describeApplication(from: Describing, state: AppState): Promise<Application> {
  const { machine, applications } = from;
  const { name, namespace, origin = "", current = 0, good = 0, appliedAt } = state;
  const containers = await machine.containers(namespace, name);
  const members = await Promise.all(
    containers.map(async (container) => ({ container, status: await machine.status(namespace, container.id) })),
  );
  const problem = from.problems().find(({ file }) => file === origin);
  return {
    ...{ name, namespace, file: origin, revision: current, goodRevision: good },
    state: statusOf(state, applications.isBusy(name), problem, members),
    error: problem?.message ?? state.reason ?? "",
    appliedAt: appliedAt === undefined ? null : timestampOf(appliedAt * 1000),
    containers: members.map(({ container: { id, image, labels }, status }) => ({
      ...{ id, image, status: status.status, health: status.health },
      service: labels[names.appService] ?? "",
      revision: Number(labels[names.appRevision] ?? 0),
    })),
  };
}

/** All applications, and files that are none yet. */
export async function describeAll(from: Describing): Promise<Application[]> {
  const { states } = from.applications;
  const all = await Promise.all(states.map((state) => describeApplication(from, state)));
  const known = new Set(states.map(({ origin }) => origin));
  for (const { file, name, kind, message } of from.problems()) {
    if (!known.has(file)) all.push({ name, file, state: kind, error: message, containers: [] });
  }
  return all.toSorted((a, b) => ((a.name ?? "") < (b.name ?? "") ? -1 : 1));
}

/** The revisions that are kept, the newest first. */
export function describeRevisions(store: AppStore, state: AppState): berth.v1.AppRevision.$Properties[] {
  return store
    .revisions(state.name)
    .toReversed()
    .flatMap((number) => {
      const revision = store.revision(state.name, number);
      if (revision === undefined) return [];
      const bad = state.bad.find((one) => one.revision === number);
      const isGood = number === state.good || number === state.previous;
      const what = number === state.current ? "current" : bad ? "bad" : isGood ? "good" : "";
      return [
        {
          ...{ number, state: what, reason: bad?.reason ?? "", digest: revision.hash },
          createdAt: timestampOf(revision.createdAt * 1000),
        },
      ];
    });
}

/** What an application is doing, in one word. */
export function statusOf(
  state: Pick<AppState, "result">,
  isBusy: boolean,
  problem: Pick<FileProblem, "kind"> | undefined,
  members: readonly Member[],
): AppStatus {
  if (isBusy) return "applying";
  if (problem !== undefined) return problem.kind;
  if (state.result === "failed" || state.result === "rolled-back") return state.result;
  const wanted = members.filter(({ container }) => container.labels[names.restart.status] !== "stopped");
  if (members.length > 0 && wanted.length === 0) return "stopped";
  return wanted.every(isWell) ? "running" : "degraded";
}

function isWell({ container, status }: Member): boolean {
  if (status.status === "running") return status.health !== "unhealthy";
  const policy = container.labels[names.restart.policy] ?? "";
  // A job that has done its work.
  return status.status === "exited" && status.exitStatus === 0 && /^(?:no|on-failure)/.test(policy);
}
