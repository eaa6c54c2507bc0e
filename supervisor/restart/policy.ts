/** Restart policies as containerd's labels spell them (core/runtime/restart). Pure: no clock, no tasks. */

import { messageOf } from "../../proto/errdefs.ts";

/** Labels of a container that the monitor reads, and of which it writes `count`. */
export const restartLabels = {
  status: "containerd.io/restart.status",
  policy: "containerd.io/restart.policy",
  logUri: "containerd.io/restart.loguri",
  count: "containerd.io/restart.count",
  explicitlyStopped: "containerd.io/restart.explicitly-stopped",
} as const;

/**
 * Label of a container whose policy asks how it ended (`no`, `on-failure`): `running` from its start on, then its exit
 * status. So that is known after a power cut, when there is no task any more. Others are spared the writes.
 */
export const LAST_EXIT_LABEL = "berth/last-exit";
/** What {@link LAST_EXIT_LABEL} says of a container that has started, and whose end nobody saw. */
export const RUNNING = "running";
/** The label of a container that is of an application (`labels.app`; spelled here, because labels.ts imports this). */
const APP_LABEL = "berth/app";
/** How a container ended whose end nobody saw. */
const UNKNOWN_EXIT = 255;

/** Policies that the monitor knows; clients read them from the plugin's capabilities. */
export const policies = ["no", "always", "on-failure", "unless-stopped"] as const;

type Name = (typeof policies)[number];
type Labels = Readonly<Record<string, string>>;

/** A policy. */
export interface Policy {
  readonly name: Name;
  /** Restarts that `on-failure` is content with; 0: any number. */
  readonly maximum: number;
}

/** Go's strconv.Atoi, as far as a count goes. */
const integer = /^[+-]?[0-9]+$/;
/** What strconv.ParseBool takes for true. */
const truths = ["1", "t", "T", "true", "TRUE", "True"];

/**
 * Reads a policy; an empty one is `always`.
 * @throws Error in containerd's words
 */
export function parsePolicy(text: string): Policy {
  const [word = "", limit] = text.split(":");
  const name = word === "" ? "always" : word;
  if (name === "on-failure") {
    if (limit !== undefined && !integer.test(limit)) throw new Error(`invalid max retry count: ${limit}`);
    return { name, maximum: Number(limit ?? 0) };
  }
  if (!policies.includes(name as Name)) throw new Error(`restart policy ${JSON.stringify(text)} not supported`);
  if (limit !== undefined) throw new Error(`restart policy ${JSON.stringify(word)} not support max retry count`);
  return { name: name as Name, maximum: 0 };
}

/** How often a container was restarted; 0 for what is no number. */
export function countOf(labels: Labels): number {
  const text = labels[restartLabels.count] ?? "";
  return integer.test(text) ? Number(text) : 0;
}

/** How a container ended last by its labels; undefined when it has never run, or nothing was noted of it. */
export function lastExitOf(labels: Labels): number | undefined {
  const text = labels[LAST_EXIT_LABEL] ?? "";
  if (text === RUNNING) return UNKNOWN_EXIT;
  return integer.test(text) ? Number(text) : undefined;
}

/** True for a container of which it must be known how it ended, even after a power cut. */
export function notesExit(labels: Labels): boolean {
  if (!Object.hasOwn(labels, restartLabels.status)) return false;
  const name = (labels[restartLabels.policy] ?? "").split(":")[0];
  return name === "no" || name === "on-failure";
}

/**
 * True for a container of an application that has never run and is to run: nobody but the monitor makes its first start,
 * whatever its policy says of later ones.
 */
export function isFirstStart(labels: Labels): boolean {
  if (!Object.hasOwn(labels, APP_LABEL) || truths.includes(labels[restartLabels.explicitlyStopped] ?? "")) return false;
  return labels[LAST_EXIT_LABEL] === undefined && notesExit(labels);
}

/**
 * Whether a start is counted as a restart. Neither the first start of an application's container is one, nor the start of
 * an `on-failure` container that a power cut ended: that was no failure of its own.
 * @param exitStatus of the end that this daemon saw
 */
export function isCounted(labels: Labels, exitStatus: number | undefined): boolean {
  if (!Object.hasOwn(labels, restartLabels.status)) return false;
  if (exitStatus !== undefined) return true;
  if (labels[LAST_EXIT_LABEL] === RUNNING) return false;
  const isKnown = labels[LAST_EXIT_LABEL] !== undefined || labels[restartLabels.count] !== undefined;
  return isKnown || !Object.hasOwn(labels, APP_LABEL);
}

/** True when `on-failure` would restart a container, had it not done so often enough. */
export function hasGivenUp(labels: Labels, exitStatus: number | undefined): boolean {
  try {
    const { name, maximum } = parsePolicy(labels[restartLabels.policy] ?? "");
    return name === "on-failure" && maximum > 0 && (exitStatus ?? 0) !== 0 && countOf(labels) >= maximum;
  } catch {
    return false;
  }
}

/**
 * Whether a container that should run, and does not, is to be started.
 * @param exitStatus of its last end; undefined when nobody knows of one, which counts as success
 * @returns the answer, and why it cannot be given when a label is wrong: then it is no
 */
export function shouldRestart(labels: Labels, exitStatus: number | undefined): { yes: boolean; problem?: string } {
  let policy: Policy;
  try {
    policy = parsePolicy(labels[restartLabels.policy] ?? "");
  } catch (error) {
    return { yes: false, problem: messageOf(error) };
  }
  switch (policy.name) {
    case "always":
      return { yes: true };
    case "unless-stopped":
      return { yes: !truths.includes(labels[restartLabels.explicitlyStopped] ?? "") };
    case "on-failure": {
      const count = labels[restartLabels.count] ?? "";
      if (count !== "" && !integer.test(count))
        return { yes: false, problem: `restart count ${JSON.stringify(count)}` };
      const isLeft = policy.maximum === 0 || countOf(labels) < policy.maximum;
      return { yes: (exitStatus ?? 0) !== 0 && isLeft };
    }
    default:
      return { yes: false };
  }
}
