/**
 * The states of a process and what may be done in each, as data (style.md section 3; upstream
 * cmd/containerd-shim-runc-v2/process/{init,exec}_state.go). The sentences are containerd's.
 */

import { failedPrecondition, notFound } from "../../proto/errdefs.ts";

/** States of a process; `deleted` is never reported to a client. `checkpoint` is created from a checkpoint. */
export type State = "created" | "checkpoint" | "running" | "paused" | "stopped" | "deleted";

/** What a client can ask for that depends on the state. */
export type Verb = "start" | "pause" | "resume" | "exec" | "update" | "checkpoint" | "delete" | "resize";

/** Where a verb leads from a state: the next state, `same`, or why not. */
type Rule = { readonly next: State | "same" } | { readonly why: string };

const to = (next: State | "same"): Rule => ({ next });
const no = (why: string): Rule => ({ why });

/** Init's table. */
const init: Record<Exclude<State, "deleted">, Record<Verb, Rule>> = {
  created: {
    start: to("running"),
    pause: no("cannot pause task in created state"),
    resume: no("cannot resume task in created state"),
    exec: to("same"),
    update: to("same"),
    checkpoint: no("cannot checkpoint a task in created state"),
    delete: to("deleted"),
    resize: to("same"),
  },
  checkpoint: {
    start: to("running"),
    pause: no("cannot pause task in created state"),
    resume: no("cannot resume task in created state"),
    exec: no("cannot exec in a created state"),
    update: to("same"),
    checkpoint: no("cannot checkpoint a task in created state"),
    delete: to("deleted"),
    resize: to("same"),
  },
  running: {
    start: no("cannot start a running process"),
    pause: to("paused"),
    resume: no("cannot resume a running process"),
    exec: to("same"),
    update: to("same"),
    checkpoint: to("same"),
    delete: no("cannot delete a running process"),
    resize: to("same"),
  },
  paused: {
    start: no("cannot start a paused process"),
    pause: no("cannot pause a paused container"),
    resume: to("running"),
    exec: no("cannot exec in a paused state"),
    update: to("same"),
    checkpoint: to("same"),
    delete: no("cannot delete a paused process"),
    resize: to("same"),
  },
  stopped: {
    start: no("cannot start a stopped process"),
    pause: no("cannot pause a stopped container"),
    resume: no("cannot resume a stopped container"),
    exec: no("cannot exec in a stopped state"),
    update: no("cannot update a stopped container"),
    checkpoint: no("cannot checkpoint a stopped container"),
    delete: to("deleted"),
    resize: to("same"),
  },
};

/** An exec's table: it has fewer verbs, and only these states. */
const exec: Partial<Record<State, Partial<Record<Verb, Rule>>>> = {
  created: { start: to("running"), delete: to("deleted"), resize: to("same") },
  running: {
    start: no("cannot start a running process"),
    delete: no("cannot delete a running process"),
    resize: to("same"),
  },
  stopped: {
    start: no("cannot start a stopped process"),
    delete: to("deleted"),
    resize: no("cannot resize a stopped container"),
  },
};

/**
 * Where a verb leads.
 * @throws ContainerdError FailedPrecondition with containerd's sentence; NotFound when the process was deleted
 */
export function transition(kind: "init" | "exec", state: State, verb: Verb): State {
  if (state === "deleted") throw notFound(`cannot ${verb} a deleted process`);
  const rule = kind === "init" ? init[state][verb] : exec[state]?.[verb];
  if (rule === undefined) throw failedPrecondition(`cannot ${verb} an exec in ${state} state`);
  if ("why" in rule) throw failedPrecondition(rule.why);
  return rule.next === "same" ? state : rule.next;
}

/** The number that State reports (`containerd.v1.types.Status`, T-STT-1). */
export function statusNumber(state: State): number {
  const numbers: Record<State, number> = { created: 1, checkpoint: 1, running: 2, stopped: 3, deleted: 3, paused: 4 };
  return numbers[state];
}

/** `PAUSING` of `containerd.v1.types.Status`: shown while runc pause is at work (T-PAU-2). */
export const PAUSING = 5;
