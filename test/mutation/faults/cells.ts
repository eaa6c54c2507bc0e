/** Faults of the table of states, a method at a time: its answers in many cells are wrong, and each cell has to say so. */

import { execStatesSection, initStatesSection } from "../../conformance/checks/states.ts";
import type { Fault } from "../fault.ts";
import { type Method, Reply, type RpcCall } from "../rpc.ts";
import { accepts, ofInit, recodes } from "./make.ts";

const INTERNAL = 13;
const cellIds = [initStatesSection, execStatesSection].flatMap(({ checks }) => checks.map(({ id }) => id));

/** The cells of a method, but for those whose state takes a call of it to bring about. */
function cells(method: Method, ...not: readonly string[]): string[] {
  return cellIds.filter(
    (id) => id.includes(`.${method.toLowerCase()}-`) && !not.some((state) => id.endsWith(`-${state}`)),
  );
}

/** Answers Internal to a method. */
function fails(method: Method, when: (call: RpcCall) => boolean = () => true): NonNullable<Fault["rpc"]> {
  return async (call, next) => (call.is(method) && when(call) ? Reply.refusal(INTERNAL) : await next());
}

/** Does what it is told, and answers Internal. */
function belies(method: Method): NonNullable<Fault["rpc"]> {
  return async (call, next) => {
    const reply = await next();
    return call.is(method) && reply.code === 0 ? Reply.refusal(INTERNAL) : reply;
  };
}

/** Answers Internal to the second call of a method about the same process. */
function failsAgain(method: Method): NonNullable<Fault["rpc"]> {
  return async (call, next) => {
    if (!call.is(method)) return await next();
    const { memory } = call.wire.served;
    const key = `${method} of ${call.target}`;
    if (memory.has(key)) return Reply.refusal(INTERNAL);
    memory.set(key, true);
    return await next();
  };
}

const isExec = (call: RpcCall): boolean => !ofInit(call);
const anywhere: Pick<Fault, "also"> = { also: ["*"] };

export const cellFaults: readonly Fault[] = [
  ...(["Resume", "Pids", "Update", "Stats", "CloseIO", "ResizePty", "Checkpoint"] as const).map((method) => ({
    name: `${method} is answered with Internal`,
    by: cells(method),
    ...anywhere,
    rpc: fails(method),
  })),
  { name: "Pause is answered with Internal", by: cells("Pause", "paused"), ...anywhere, rpc: fails("Pause") },
  {
    name: "a second Start is answered with Internal",
    by: cells("Start", "unknown", "created", "added"),
    ...anywhere,
    rpc: failsAgain("Start"),
  },
  {
    name: "Start of what is not there is Internal",
    by: ["T-STA-2.start-unknown", "T-STA-2.start-deleted", "T-STA-5.start-exec-unknown", "T-STA-5.start-exec-deleted"],
    rpc: recodes("Start", [5], INTERNAL),
  },
  {
    name: "Start of an exec is answered with Internal",
    by: ["T-STA-5.start-exec-added"],
    ...anywhere,
    rpc: fails("Start", isExec),
  },
  {
    name: "Kill of what is not there is Internal",
    by: [...cells("Kill", "created", "running", "paused", "added")],
    ...anywhere,
    rpc: recodes("Kill", [5], INTERNAL),
  },
  {
    name: "Kill is done and answered with Internal",
    by: ["T-KIL-1.kill-created", "T-KIL-1.kill-running", "T-KIL-1.kill-paused", "T-PAU-3"],
    ...anywhere,
    rpc: belies("Kill"),
  },
  {
    name: "Exec in what is not there is Internal",
    by: ["T-EXE-3.exec-unknown", "T-EXE-3.exec-deleted"],
    rpc: recodes("Exec", [5], INTERNAL),
  },
  {
    name: "Exec is done and answered with Internal",
    by: ["T-EXE-3.exec-created", "T-EXE-3.exec-running"],
    ...anywhere,
    rpc: belies("Exec"),
  },
  { name: "an exec whose process is garbage is taken", by: ["T-EXE-1.garbage"], rpc: accepts("Exec") },
  {
    name: "State of an exec that is not there is Internal",
    by: ["T-STT-1.state-exec-unknown", "T-STT-1.state-exec-deleted"],
    rpc: recodes("State", [5], INTERNAL),
  },
  {
    name: "State of an exec is answered with Internal",
    by: cells("State").filter((id) => id.includes("-exec-")),
    ...anywhere,
    rpc: fails("State", isExec),
  },
  {
    name: "Wait for an exec is answered with Internal",
    by: cells("Wait").filter((id) => id.includes("-exec-")),
    ...anywhere,
    rpc: fails("Wait", isExec),
  },
  {
    name: "Delete of an exec that is not there is Internal",
    by: ["T-DEL-1.delete-exec-unknown", "T-DEL-1.delete-exec-deleted"],
    rpc: recodes("Delete", [5], INTERNAL),
  },
  {
    name: "Delete is done and answered with Internal",
    by: ["T-DEL-1.delete-stopped", "T-DEL-1.delete-exec-added", "T-DEL-1.delete-exec-stopped"],
    ...anywhere,
    rpc: belies("Delete"),
  },
];
