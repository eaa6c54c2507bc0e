/** Faults of the binary call `delete`, and of groups. */

import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { containerd } from "../../../proto/gen/shim.js";
import { socketPath } from "../../conformance/rig/dialect.ts";
import { isAlive } from "../../conformance/rig/machine.ts";
import type { BinaryAnswer, BinaryCall, Fault } from "../fault.ts";
import { noteName } from "../order.ts";
import { leaveCgroup, leaveMount, leaveProcess } from "./leave.ts";

const { DeleteResponse } = containerd.task.v2;
type Exit = ReturnType<typeof DeleteResponse.decode>;
const fails: BinaryAnswer = { exitCode: 1, stdout: new Uint8Array(), stderr: "there is no such thing\n" };

/** Changes what delete prints. */
function prints(change: (exit: Exit) => void): NonNullable<Fault["answer"]> {
  return (answer, { action }) => {
    if (action !== "delete" || answer.exitCode !== 0) return;
    const exit = DeleteResponse.decode(answer.stdout);
    change(exit);
    answer.stdout = DeleteResponse.encode(exit).finish();
  };
}

/** Does something after a delete. */
function leaves(leave: (call: BinaryCall) => void): NonNullable<Fault["answer"]> {
  return (_, call) => {
    if (call.action === "delete") leave(call);
  };
}

/** The socket of a bundle's shim, by its file `address`. */
function socketOf({ cwd }: BinaryCall): string {
  const path = join(cwd, "address");
  return existsSync(path) ? (socketPath(readFileSync(path, "utf8")) ?? "") : "";
}

/** The annotations of a bundle are others before the good shim reads them. */
function annotates(
  change: (annotations: Record<string, string>) => Record<string, string>,
): NonNullable<Fault["call"]> {
  return ({ action, cwd }) => {
    const path = join(cwd, "config.json");
    if (action !== "start" || !existsSync(path)) return undefined;
    let config: { annotations?: Record<string, string> };
    try {
      config = JSON.parse(readFileSync(path, "utf8")) as typeof config;
    } catch {
      return undefined;
    }
    config.annotations = change(config.annotations ?? {});
    writeFileSync(path, JSON.stringify(config));
    return undefined;
  };
}

/** True for a start that was answered with a shim that ran already. */
const joins = ({ cwd, action }: BinaryCall): boolean => action === "start" && !existsSync(join(cwd, noteName));

export const deleteFaults: readonly Fault[] = [
  {
    name: "delete prints the status 0",
    by: ["DL-2.answer", "DL-5.empty"],
    also: ["DL-6"],
    answer: prints((exit) => {
      exit.exitStatus = 0;
    }),
  },
  {
    name: "delete prints 137 whatever the process had",
    by: ["DL-6"],
    answer: prints((exit) => {
      exit.exitStatus = 137;
    }),
  },
  {
    name: "delete prints no pid",
    by: ["DL-2.answer"],
    answer: prints((exit) => {
      exit.pid = 0;
    }),
  },
  {
    name: "delete prints a pid where there was none",
    by: ["DL-2.no-pid"],
    answer: prints((exit) => {
      if (exit.pid === 0) exit.pid = 4242;
    }),
  },
  {
    name: "delete prints no time",
    by: ["DL-2.answer", "DL-1"],
    also: ["DL-*", "RS-5"],
    answer: prints((exit) => {
      exit.exitedAt = null;
    }),
  },
  {
    name: "delete prints a time of yesterday",
    by: ["DL-2.answer"],
    answer: prints((exit) => {
      exit.exitedAt = { seconds: Math.floor(Date.now() / 1000) - 86_400, nanos: 0 };
    }),
  },
  {
    name: "delete prints text",
    by: ["DL-2.answer", "DL-1"],
    also: ["DL-*", "RS-5"],
    answer: (answer, { action }) => {
      if (action === "delete") answer.stdout = new TextEncoder().encode("deleted\n");
    },
  },
  {
    name: "delete does nothing",
    by: ["DL-3.after-start", "DL-3.while-it-is-paused", "RS-5"],
    also: ["DL-*"],
    timeout: 15,
    call: ({ action }) => {
      if (action !== "delete") return undefined;
      const exitedAt = { seconds: Math.floor(Date.now() / 1000), nanos: 0 };
      return { exitCode: 0, stdout: DeleteResponse.encode({ exitStatus: 137, exitedAt }).finish(), stderr: "" };
    },
  },
  {
    name: "delete leaves a mount",
    by: ["DL-3.after-start", "DL-3.after-create", "DL-3.after-delete"],
    answer: leaves(leaveMount),
  },
  {
    name: "delete leaves a cgroup",
    by: ["DL-3.after-start", "DL-3.after-create", "DL-3.after-the-exit"],
    answer: leaves(leaveCgroup),
  },
  {
    name: "delete leaves a process",
    by: ["DL-3.after-start", "DL-3.after-create", "DL-3.while-it-has-an-exec", "LK-1.containers"],
    answer: leaves(leaveProcess),
  },
  {
    name: "delete removes the bundle",
    by: ["DL-3.after-start", "DL-3.before-create"],
    also: ["DL-*"],
    answer: leaves(({ cwd }) => rmSync(cwd, { recursive: true, force: true })),
  },
  {
    name: "delete leaves the socket of a killed shim",
    by: ["DL-8"],
    answer: leaves((call) => {
      const socket = socketOf(call);
      if (socket !== "") writeFileSync(socket, "");
    }),
  },
  {
    name: "delete fails the second time",
    by: ["DL-5.twice"],
    call: ({ action, cwd }) => {
      if (action !== "delete") return undefined;
      const mark = join(cwd, ".deleted");
      if (existsSync(mark)) return fails;
      writeFileSync(mark, "");
      return undefined;
    },
  },
  {
    name: "delete fails where nothing was created",
    by: ["DL-5.empty", "DL-3.before-create"],
    also: ["DL-2.no-pid", "DL-5.*"],
    call: ({ action, cwd }) => (action === "delete" && !existsSync(join(cwd, "init.pid")) ? fails : undefined),
  },
  {
    name: "delete fails without config.json",
    by: ["DL-5.no-config"],
    call: ({ action, cwd }) => (action === "delete" && !existsSync(join(cwd, "config.json")) ? fails : undefined),
  },
  {
    name: "delete takes six seconds",
    by: ["DL-1"],
    timeout: 15,
    answer: async (_, { action }) => {
      if (action === "delete") await Bun.sleep(6000);
    },
  },
  {
    name: "the containers end with their shim",
    by: ["RS-5"],
    ended: ({ call }) => {
      const path = join(call.cwd, "init.pid");
      if (!existsSync(path)) return;
      const pid = Number(readFileSync(path, "utf8"));
      if (isAlive(pid)) process.kill(pid, "SIGKILL");
    },
  },
];

export const groupFaults: readonly Fault[] = [
  { name: "nothing is grouped", by: ["SK-3.cri", "SK-3.runc"], call: annotates(() => ({})) },
  {
    name: "runc's own label is ignored",
    by: ["SK-3.runc"],
    call: annotates(({ "io.containerd.runc.v2.group": _, ...rest }) => rest),
  },
  {
    name: "everything is grouped",
    by: ["SK-3.alone"],
    also: ["SK-3.*"],
    call: annotates(() => ({ "io.containerd.runc.v2.group": "all" })),
  },
  {
    name: "start tells its own version of a shim that runs",
    by: ["ST-8.version"],
    also: ["ST-*", "SK-3.*"],
    answer: (answer, call) => {
      const text = new TextDecoder().decode(answer.stdout);
      if (!joins(call) || !text.startsWith("unix://")) return;
      const announced = { version: 3, address: text.trim(), protocol: "ttrpc" };
      answer.stdout = new TextEncoder().encode(JSON.stringify(announced));
    },
  },
  {
    name: "a further bundle of a group has no file address",
    by: ["ST-11.group"],
    answer: (_, call) => {
      if (joins(call)) rmSync(join(call.cwd, "address"), { force: true });
    },
  },
  {
    name: "delete of one container ends the shim of its group",
    by: ["DL-4"],
    answer: (_, call) => {
      if (call.action !== "delete" || existsSync(join(call.cwd, noteName))) return;
      const path = join(call.cwd, "..", "c1", noteName);
      if (!existsSync(path)) return;
      const note = JSON.parse(readFileSync(path, "utf8")) as { shim: number };
      process.kill(note.shim, "SIGKILL");
    },
  },
  {
    name: "delete of one container removes the socket of its group",
    by: ["DL-4"],
    answer: (_, call) => {
      if (call.action !== "delete" || existsSync(join(call.cwd, noteName))) return;
      rmSync(socketOf(call), { force: true });
    },
  },
  {
    name: "Shutdown for one container ends the shim of its group",
    by: ["T-SHU-1.group"],
    also: ["T-SHU-1.*", "SK-*"],
    rpc: async (call, next) => {
      const reply = await next();
      if (call.is("Shutdown")) process.kill(call.wire.served.realPid, "SIGKILL");
      return reply;
    },
  },
  {
    name: "events of a group have the first container's id",
    by: ["SK-3.apart"],
    event: async (event, deliver) => {
      event.body["containerId"] = event.served.call.id;
      return await deliver(event);
    },
  },
];
