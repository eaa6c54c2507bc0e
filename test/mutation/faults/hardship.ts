/** Faults that show when something is missing, full or gone; and what a shim keeps of each container. */

import { closeSync, constants, existsSync, openSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { containerd } from "../../../proto/gen/shim.js";
import { descriptorsOf, findCgroups } from "../../conformance/rig/machine.ts";
import type { Fault } from "../fault.ts";
import { Reply } from "../rpc.ts";
import { leaveMount, leaveProcess } from "./leave.ts";
import { afterDeleteIn, createOptions, ofInit } from "./make.ts";

/** True when a directory takes a new file of 4096 bytes. */
function isWritable(directory: string): boolean {
  const path = join(directory, `probe-${process.pid}`);
  try {
    writeFileSync(path, new Uint8Array(4096));
    return true;
  } catch {
    return false;
  } finally {
    Bun.spawnSync(["rm", "-f", path], { stderr: "ignore" });
  }
}

/** True when a process other than these has the file open. */
function isOpen(path: string, ...not: readonly number[]): boolean {
  return readdirSync("/proc")
    .filter((name) => Number(name) > 0 && !not.includes(Number(name)))
    .some((pid) => descriptorsOf(Number(pid)).includes(path));
}

/** Does something after each Delete of an init. */
function afterDelete(act: NonNullable<Fault["rpc"]>): NonNullable<Fault["rpc"]> {
  return async (call, next) => (call.is("Delete") && ofInit(call) ? await act(call, next) : await next());
}

export const hardshipFaults: readonly Fault[] = [
  {
    name: "start needs a PATH",
    by: ["INV-6"],
    call: ({ action, env }) =>
      action === "start" && !existsSync((env["PATH"] ?? "").split(":")[0] ?? "")
        ? { exitCode: 1, stdout: new Uint8Array(), stderr: "where is everything?\n" }
        : undefined,
  },
  {
    name: "an exec writes to /tmp",
    by: ["BN-3"],
    rpc: async (call, next) => (call.is("Exec") && !isWritable("/tmp") ? Reply.refusal(2) : await next()),
  },
  {
    name: "a log that nobody reads ends the shim",
    by: ["PR-6.log"],
    // The good shim has it open for reading as well, so that there is no EPIPE to wait for.
    rpc: async (call, next) => {
      const { call: start, realPid } = call.wire.served;
      if (call.is("State") && !isOpen(join(start.cwd, "log"), realPid)) process.kill(realPid, "SIGKILL");
      return await next();
    },
  },
  {
    name: "a full disk loses the exit",
    by: ["PR-6.disk"],
    event: async (event, deliver) =>
      event.topic === "/tasks/exit" && !isWritable(event.served.call.cwd) ? 0 : await deliver(event),
  },
  {
    name: "Delete needs the cgroup",
    by: ["PR-6.cgroup"],
    rpc: afterDelete(async (call, next) => {
      const { id, namespace } = call.wire.served.call;
      const has = findCgroups(namespace).some((path) => path.endsWith(`/${id}`));
      return has ? await next() : Reply.refusal(5);
    }),
    also: ["*"],
  },
  {
    name: "FIFOs without a reader hold up Create for ever",
    by: ["T-CRE-8.ends"],
    also: ["T-CRE-8.clean"],
    rpc: async (call, next) => {
      const path = call.is("Create") ? (call.request("Create").stdout ?? "") : "";
      if (!path.startsWith("/")) return await next();
      try {
        closeSync(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK));
      } catch {
        return undefined;
      }
      return await next();
    },
  },
  {
    name: "a Create that FIFOs made fail leaves the container",
    by: ["T-CRE-8.clean"],
    rpc: async (call, next) => {
      const { memory } = call.wire.served;
      if (call.is("Create") && memory.has("failed")) return Reply.refusal(2, "container with given ID already exists");
      const reply = await next();
      if (call.is("Create") && reply.code !== 0) memory.set("failed", true);
      return reply;
    },
  },
  {
    name: "io_uid is ignored",
    by: ["IO-8"],
    call: (call) => {
      call.stdin = new Uint8Array();
      return undefined;
    },
    rpc: createOptions((options) => {
      options.ioUid = 0;
      options.ioGid = 0;
    }),
  },
  {
    name: "-info names mounts that are none",
    by: ["IN-2"],
    answer: (answer, { argv }) => {
      if (!argv.includes("-info")) return;
      const info = containerd.types.RuntimeInfo.decode(answer.stdout);
      info.annotations = { "containerd.io/runtime-allow-mounts": "erofs,,Loop Device" };
      answer.stdout = containerd.types.RuntimeInfo.encode(info).finish();
    },
  },
  {
    name: "each container of a group leaves a mount",
    by: ["LK-1.cycles"],
    rpc: afterDeleteIn((bundle, call) => leaveMount({ ...call.wire.served.call, cwd: bundle })),
  },
  {
    name: "one container in a hundred leaves a process",
    by: ["LK-1.cycles"],
    rpc: afterDelete(async (call, next) => {
      const { memory, call: start } = call.wire.served;
      const count = Number(memory.get("count") ?? 0) + 1;
      memory.set("count", count);
      if (count % 100 === 0) leaveProcess(start);
      return await next();
    }),
  },
  {
    name: "memory grows with the time",
    by: ["LK-1.memory"],
    // Some 4 MB a second.
    standIn:
      'x=; y=$(head -c 262144 /dev/zero | tr "\\0" x); n=0; while kill -0 "$SHIM"; do n=$((n+1)); eval "x$n=$y"; sleep 0.06; done',
  },
];
