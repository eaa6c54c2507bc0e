/** Faults in the table of states: wrong codes, and calls that are taken or refused where they must not be. */

import { containerd } from "../../../proto/gen/shim.js";
import type { Fault } from "../fault.ts";
import { Reply } from "../rpc.ts";
import { accepts, answers, ofInit, recodes, swallows } from "./make.ts";

const { Status } = containerd.v1.types;

/** A status is told for another, of init or of an exec. */
function tells(name: string, by: readonly string[], from: number, to: number, execs = false): Fault {
  const change = answers("State", (answer, call) => {
    if (answer.status === from && ofInit(call) !== execs) answer.status = to;
  });
  return { name, by, also: ["T-*"], rpc: change };
}

export const stateFaults: readonly Fault[] = [
  {
    name: "State of what is not there is Unknown",
    by: ["T-STT-1.state-unknown", "T-STT-1.state-deleted", "TT-8.not-found"],
    rpc: recodes("State", [5], 2),
  },
  {
    name: "Delete of what is not there is Unknown",
    by: ["T-DEL-1.delete-unknown", "T-DEL-1.delete-deleted", "T-DEL-2"],
    rpc: recodes("Delete", [5], 2),
  },
  {
    name: "Wait of what is not there is Internal",
    by: ["T-WAI-1.wait-unknown", "T-WAI-1.wait-deleted"],
    rpc: recodes("Wait", [5], 13),
  },
  {
    name: "Stats of what is not there is FailedPrecondition",
    by: ["T-STS-1.stats-unknown", "T-STS-1.stats-deleted"],
    rpc: recodes("Stats", [5], 9),
  },
  {
    name: "Start of a task that runs is AlreadyExists",
    by: ["T-STA-2.start-running", "T-STA-2.start-stopped"],
    rpc: recodes("Start", [2, 9], 6),
  },
  { name: "Start of a task that runs is taken", by: ["T-STA-2.start-running"], rpc: accepts("Start") },
  {
    name: "Pause of a task that does not run is taken",
    by: ["T-PAU-1.pause-created", "T-PAU-1.pause-paused"],
    rpc: accepts("Pause"),
  },
  { name: "Resume of a task that runs is taken", by: ["T-PAU-1.resume-running"], rpc: accepts("Resume") },
  {
    name: "Kill of a task that has ended is taken",
    by: ["T-KIL-1.kill-stopped"],
    rpc: accepts("Kill", { when: ofInit }),
  },
  {
    name: "Kill of a task that has ended is FailedPrecondition",
    by: ["T-KIL-1.kill-stopped"],
    rpc: recodes("Kill", [5], 9),
  },
  {
    name: "Kill of an exec that has not started is NotFound",
    by: ["T-KIL-2.kill-exec-added"],
    rpc: recodes("Kill", [9], 5),
  },
  {
    name: "Kill of an exec that has ended is taken",
    by: ["T-KIL-2.kill-exec-stopped"],
    rpc: accepts("Kill", { when: (call) => !ofInit(call) }),
  },
  {
    name: "Exec in a task that is paused or has ended is taken",
    by: ["T-EXE-3.exec-paused", "T-EXE-3.exec-stopped"],
    rpc: accepts("Exec"),
  },
  { name: "an exec id that is taken is Unknown", by: ["T-EXE-2"], rpc: recodes("Exec", [6], 2) },
  {
    name: "Delete of a task that runs is taken",
    by: ["T-DEL-1.delete-running", "T-DEL-1.delete-paused"],
    rpc: accepts("Delete", { when: ofInit }),
  },
  {
    name: "Delete of an exec that runs is taken",
    by: ["T-DEL-1.delete-exec-running"],
    rpc: accepts("Delete", { when: (call) => !ofInit(call) }),
  },
  { name: "Pids of what is not there is empty", by: ["T-PID-2.pids-unknown"], rpc: accepts("Pids") },
  { name: "Update of a task that has ended is taken", by: ["T-UPD-1.update-stopped"], rpc: accepts("Update") },
  { name: "CloseIO of what is not there is taken", by: ["T-CIO-1.closeio-unknown"], rpc: accepts("CloseIO") },
  { name: "ResizePty of what is not there is taken", by: ["T-RSZ-1.resizepty-unknown"], rpc: accepts("ResizePty") },
  {
    name: "Checkpoint of a task that does not run is taken",
    by: ["CP-2.checkpoint-created", "CP-2.checkpoint-stopped"],
    rpc: accepts("Checkpoint"),
  },
  {
    name: "ResizePty without a console is refused",
    by: ["T-RSZ-1.resizepty-running"],
    rpc: async (call, next) => (call.is("ResizePty") && ofInit(call) ? Reply.refusal(9) : await next()),
  },
  {
    name: "Delete of a task that was never started is refused",
    by: ["T-DEL-1.delete-created", "EV-1.never-started"],
    rpc: async (call, next) => {
      const { memory } = call.wire.served;
      if (call.is("Start")) memory.set("started", true);
      return call.is("Delete") && !memory.has("started") ? Reply.refusal(9) : await next();
    },
  },
  {
    name: "Wait of a task that has ended hangs",
    by: ["T-WAI-1.wait-stopped"],
    also: ["T-*"],
    timeout: 4,
    rpc: async (call, next) => {
      const { memory } = call.wire.served;
      if (call.is("Wait") && ofInit(call) && memory.has("told")) return undefined;
      const reply = await next();
      if (call.is("Wait") && ofInit(call)) memory.set("told", true);
      return reply;
    },
  },
  {
    name: "Wait of a deleted task hangs",
    by: ["T-WAI-1.wait-deleted"],
    timeout: 4,
    rpc: async (call, next) => {
      const reply = await next();
      return call.is("Wait") && reply.code === 5 ? undefined : reply;
    },
  },
  {
    name: "a connection is closed where NotFound should be said",
    by: ["T-STT-1.state-unknown", "T-PAU-1.pause-unknown"],
    also: ["TT-8.*"],
    rpc: async (call, next) => {
      const reply = await next();
      if (reply.code !== 5) return reply;
      call.wire.close();
      return undefined;
    },
  },
  { name: "a refused Pause pauses", by: ["T-PAU-1.pause-paused"], rpc: recodes("Pause", [2, 9], 0) },
  tells(
    "a paused task is told as RUNNING",
    ["T-PAU-1.pause-running", "T-STT-1.state-paused"],
    Status.PAUSED,
    Status.RUNNING,
  ),
  tells(
    "a task that has ended is told as RUNNING",
    ["T-KIL-1.kill-running", "T-STT-1.state-stopped"],
    Status.STOPPED,
    Status.RUNNING,
  ),
  tells("a created task is told as RUNNING", ["T-STT-1.state-created"], Status.CREATED, Status.RUNNING),
  tells(
    "a running task is told as CREATED",
    ["T-STT-1.state-running", "T-STA-2.start-created"],
    Status.RUNNING,
    Status.CREATED,
  ),
  tells(
    "an added exec is told as RUNNING",
    ["T-EXE-4", "T-STT-1.state-exec-added"],
    Status.CREATED,
    Status.RUNNING,
    true,
  ),
  tells(
    "an exec that has ended is told as RUNNING",
    ["T-STT-1.state-exec-stopped"],
    Status.STOPPED,
    Status.RUNNING,
    true,
  ),
  tells("a running exec of a paused task is told as RUNNING", ["T-STT-2"], Status.PAUSED, Status.RUNNING, true),
  {
    name: "Kill is taken and kills nothing",
    by: ["T-KIL-1.kill-running", "T-KIL-2.kill-exec-running"],
    timeout: 4,
    rpc: swallows("Kill"),
  },
];
