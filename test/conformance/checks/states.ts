/**
 * The whole table of states by calls (contract 1.8). Each cell is a check: a container or an exec is brought into a
 * state, one call is made, and where it must be refused the state must be what it was.
 */

import { codes, codeText, equal, holds, refused, show } from "../assert.ts";
import type { Check, Section } from "../check.ts";
import type { Context, Shim } from "../rig/context.ts";
import type { Status } from "../rig/task.ts";
import { StatusError } from "../rig/wire.ts";

const service = "cmd/containerd-shim-runc-v2/task/service.go";
const initStates = "cmd/containerd-shim-runc-v2/process/init_state.go";
const execStates = "cmd/containerd-shim-runc-v2/process/exec_state.go";

type State = "unknown" | "created" | "running" | "paused" | "stopped" | "deleted";
type Cell = "ok" | readonly number[];

const { notFound, wrongState } = codes;
/** Done, or there is nothing to do it to any more. */
const okOrNotFound = [0, 5] as const;
/** A wrong state, or what was asked for is not there in it. */
const anyRefusal = [2, 5, 9] as const;

/** Brings a container into a state. */
async function container(t: Context, state: State): Promise<Shim> {
  const shim = await t.start(t.bundle());
  if (state === "unknown") return shim;
  await shim.create();
  if (state === "created") return shim;
  await shim.task.start(shim.id);
  if (state === "paused") await shim.task.pause(shim.id);
  if (state === "stopped" || state === "deleted") await shim.kill();
  if (state === "deleted") {
    await t.events.wait(shim.id, "exit");
    await shim.task.delete(shim.id);
  }
  return shim;
}

/** The calls of the table, as they are made of init or of an exec. */
const calls = {
  State: (shim: Shim, exec: string) => shim.task.state(shim.id, exec),
  Start: (shim: Shim, exec: string) => shim.task.start(shim.id, exec),
  Pause: (shim: Shim) => shim.task.pause(shim.id),
  Resume: (shim: Shim) => shim.task.resume(shim.id),
  Kill: (shim: Shim, exec: string) => shim.task.kill(shim.id, 9, { execId: exec }),
  Exec: (shim: Shim, _: string, t: Context) => shim.task.exec(shim.id, "e1", t.process("sleep", "100")),
  Pids: (shim: Shim) => shim.task.pids(shim.id),
  Update: (shim: Shim) => shim.task.update(shim.id, { memory: { limit: 64 << 20 } }),
  Stats: (shim: Shim) => shim.task.stats(shim.id),
  Wait: (shim: Shim, exec: string) => shim.task.wait(shim.id, exec),
  CloseIO: (shim: Shim, exec: string) => shim.task.closeIO(shim.id, exec),
  ResizePty: (shim: Shim, exec: string) => shim.task.resizePty(shim.id, 80, 25, exec),
  Checkpoint: (shim: Shim, _: string, t: Context) => shim.task.checkpoint(shim.id, `${t.dir}/checkpoint`),
  Delete: (shim: Shim, exec: string) => shim.task.delete(shim.id, exec),
} as const satisfies Record<string, (shim: Shim, exec: string, t: Context) => Promise<unknown>>;

type Verb = keyof typeof calls;

/** Ids of the contract's rules, by call. */
const ids: Readonly<Record<Verb, string>> = {
  State: "T-STT-1",
  Start: "T-STA-2",
  Pause: "T-PAU-1",
  Resume: "T-PAU-1",
  Kill: "T-KIL-1",
  Exec: "T-EXE-3",
  Pids: "T-PID-2",
  Update: "T-UPD-1",
  Stats: "T-STS-1",
  Wait: "T-WAI-1",
  CloseIO: "T-CIO-1",
  ResizePty: "T-RSZ-1",
  Checkpoint: "CP-2",
  Delete: "T-DEL-1",
};

type Row = Readonly<Partial<Record<State, Cell>>>;

/** What becomes of each call to init, by state. Wait blocks in the states that it is missing in. */
const initTable: Readonly<Record<Verb, Row>> = {
  State: { unknown: notFound, created: "ok", running: "ok", paused: "ok", stopped: "ok", deleted: notFound },
  Start: {
    unknown: notFound,
    created: "ok",
    running: wrongState,
    paused: wrongState,
    stopped: wrongState,
    deleted: notFound,
  },
  Pause: {
    unknown: notFound,
    created: wrongState,
    running: "ok",
    paused: wrongState,
    stopped: wrongState,
    deleted: notFound,
  },
  Resume: {
    unknown: notFound,
    created: wrongState,
    running: wrongState,
    paused: "ok",
    stopped: wrongState,
    deleted: notFound,
  },
  Kill: { unknown: notFound, created: "ok", running: "ok", paused: "ok", stopped: notFound, deleted: notFound },
  Exec: { unknown: notFound, created: "ok", running: "ok", paused: wrongState, stopped: wrongState, deleted: notFound },
  Pids: { unknown: notFound, created: "ok", running: "ok", paused: "ok", deleted: notFound },
  Update: { unknown: notFound, created: "ok", running: "ok", paused: "ok", stopped: wrongState, deleted: notFound },
  Stats: { unknown: notFound, created: "ok", running: "ok", paused: "ok", stopped: okOrNotFound, deleted: notFound },
  Wait: { unknown: notFound, stopped: "ok", deleted: notFound },
  CloseIO: { unknown: notFound, created: "ok", running: "ok", paused: "ok", stopped: "ok", deleted: notFound },
  ResizePty: { unknown: notFound, created: "ok", running: "ok", paused: "ok", stopped: "ok", deleted: notFound },
  Checkpoint: { unknown: notFound, created: wrongState, stopped: wrongState, deleted: notFound },
  Delete: {
    unknown: notFound,
    created: "ok",
    running: wrongState,
    paused: wrongState,
    stopped: "ok",
    deleted: notFound,
  },
};

const statusOf: Readonly<Record<State, Status>> = {
  unknown: "UNKNOWN",
  created: "CREATED",
  running: "RUNNING",
  paused: "PAUSED",
  stopped: "STOPPED",
  deleted: "UNKNOWN",
};

/** The status of a process after a call that is done. */
const after: Readonly<Partial<Record<Verb, Status>>> = { Start: "RUNNING", Pause: "PAUSED", Resume: "RUNNING" };

async function judge(verb: Verb, call: Promise<unknown>, cell: Cell): Promise<boolean> {
  if (cell === "ok") {
    await call;
    return true;
  }
  if (!cell.includes(0)) {
    await refused(verb, call, ...cell);
    return false;
  }
  const outcome = await call.then(
    () => 0,
    (error: unknown) => (error instanceof StatusError ? error.code : show(error)),
  );
  holds(
    `${verb} to be ${cell.map((code) => (code === 0 ? "done" : `refused with ${codeText(code)}`)).join(" or ")}`,
    cell.includes(outcome as number),
    outcome,
  );
  return outcome === 0;
}

function initCheck(verb: Verb, state: State, cell: Cell): Check {
  const allowed = cell === "ok";
  const what =
    { unknown: "a container that is not there", deleted: "a deleted container" }[state as string] ??
    `a ${state} container`;
  return {
    id: `${ids[verb]}.${verb.toLowerCase()}-${state}`,
    level: "must",
    title: `${verb} of ${what} ${allowed ? "is done" : cell.includes(0) ? "is done or NotFound" : `is refused with ${cell.map(codeText).join(" or ")}, and changes nothing`}.`,
    source: cell === notFound ? service : initStates,
    body: async (t) => {
      const shim = await container(t, state);
      const done = await judge(verb, calls[verb](shim, "", t), cell);
      if (state === "unknown" || state === "deleted" || (done && verb === "Delete")) {
        const { taskPid } = await shim.task.connect(shim.id);
        equal("the task_pid of Connect", taskPid, 0);
        return;
      }
      if (done && verb === "Kill") {
        equal("the exit status", (await shim.task.wait(shim.id)).exitStatus, 137);
        equal("the status afterwards", (await shim.task.state(shim.id)).status, "STOPPED");
        return;
      }
      const status = done ? (after[verb] ?? statusOf[state]) : statusOf[state];
      equal("the status afterwards", (await shim.task.state(shim.id)).status, status);
    },
  };
}

type ExecState = "unknown" | "added" | "running" | "stopped" | "deleted";
type ExecRow = Readonly<Partial<Record<ExecState, Cell>>>;

/** What becomes of each call to an exec, by its state, in a container that runs. */
const execTable: Readonly<Partial<Record<Verb, ExecRow>>> = {
  State: { unknown: notFound, added: "ok", running: "ok", stopped: "ok", deleted: notFound },
  Start: { unknown: notFound, added: "ok", running: wrongState, stopped: wrongState, deleted: notFound },
  Kill: { unknown: notFound, added: [9], running: "ok", stopped: notFound, deleted: notFound },
  Wait: { unknown: notFound, stopped: "ok", deleted: notFound },
  CloseIO: { unknown: notFound, added: "ok", running: "ok", stopped: "ok", deleted: notFound },
  ResizePty: { unknown: notFound, added: "ok", running: "ok", stopped: anyRefusal, deleted: notFound },
  Delete: { unknown: notFound, added: "ok", running: wrongState, stopped: "ok", deleted: notFound },
};

const execStatus: Readonly<Partial<Record<ExecState, Status>>> = {
  added: "CREATED",
  running: "RUNNING",
  stopped: "STOPPED",
};
/** Cells that containerd's own shim does not keep, and no client minds. */
const softExecCells: ReadonlySet<string> = new Set(["closeio-exec-unknown", "closeio-exec-deleted"]);
const execIds: Readonly<Partial<Record<Verb, string>>> = { Kill: "T-KIL-2", Start: "T-STA-5" };

async function exec(t: Context, state: ExecState): Promise<Shim> {
  const shim = await t.run();
  if (state === "unknown") return shim;
  await shim.task.exec(shim.id, "e1", t.process("sleep", "100"));
  if (state === "added") return shim;
  await shim.task.start(shim.id, "e1");
  if (state === "running") return shim;
  await shim.task.kill(shim.id, 9, { execId: "e1" });
  await shim.task.wait(shim.id, "e1");
  if (state === "deleted") await shim.task.delete(shim.id, "e1");
  return shim;
}

function execCheck(verb: Verb, state: ExecState, cell: Cell): Check {
  const what =
    state === "unknown" ? "an exec that is not there" : `${state === "added" ? "an added" : `a ${state}`} exec`;
  const verdict = cell === "ok" ? "is done" : `is refused with ${cell.map(codeText).join(" or ")}, and changes nothing`;
  const name = `${verb.toLowerCase()}-exec-${state}`;
  return {
    id: `${execIds[verb] ?? ids[verb]}.${name}`,
    level: softExecCells.has(name) ? "should" : "must",
    title: `${verb} of ${what} ${verdict}.`,
    source: cell === notFound ? service : execStates,
    body: async (t) => {
      const shim = await exec(t, state);
      const done = await judge(verb, calls[verb](shim, "e1", t), cell);
      const left = execStatus[state];
      if (left === undefined || (done && verb === "Delete")) {
        await refused("State of the exec afterwards", shim.task.state(shim.id, "e1"), ...notFound);
      } else if (done && verb === "Kill") {
        equal("the exit status", (await shim.task.wait(shim.id, "e1")).exitStatus, 137);
      } else {
        const status = done ? (after[verb] ?? left) : left;
        equal("the status afterwards", (await shim.task.state(shim.id, "e1")).status, status);
      }
      // Whatever is done to an exec, init goes on.
      equal("the status of init", (await shim.task.state(shim.id)).status, "RUNNING");
    },
  };
}

function cells<S extends string>(row: Readonly<Partial<Record<S, Cell>>>): [S, Cell][] {
  return Object.entries(row) as [S, Cell][];
}

export const initStatesSection: Section = {
  name: "states of a task",
  checks: (Object.entries(initTable) as [Verb, Row][]).flatMap(([verb, row]) =>
    cells(row).map(([state, cell]) => initCheck(verb, state, cell)),
  ),
};

export const execStatesSection: Section = {
  name: "states of an exec",
  checks: (Object.entries(execTable) as [Verb, ExecRow][]).flatMap(([verb, row]) =>
    cells(row).map(([state, cell]) => execCheck(verb, state, cell)),
  ),
};
