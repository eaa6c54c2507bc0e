/** Faults that show when containerd comes back, of sandboxes, and of checkpoints. */

import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { containerd } from "../../../proto/gen/supervisor.js";
import { readFields } from "../../conformance/rig/wire.ts";
import type { BinaryCall, Fault } from "../fault.ts";
import { Reply, type RpcCall } from "../rpc.ts";
import { leaveMount } from "./leave.ts";
import { accepts, afterDeleteIn, asks } from "./make.ts";

const messages = containerd.runtime.sandbox.v1;

/** True for a start with BootstrapParams. */
function isBootstrap({ stdin, id }: BinaryCall): boolean {
  try {
    const first = readFields(stdin).find(({ number }) => number === 1);
    return new TextDecoder().decode(first?.bytes) === id;
  } catch {
    return false;
  }
}

const isSandbox = ({ service }: RpcCall): boolean => service.endsWith(".Sandbox");

/** True for a call about another container than that which the shim was started for. */
const isSecond = (call: RpcCall): boolean => !call.target.startsWith(`${call.wire.served.call.id}/`);

/** Answers the Sandbox service, as a shim would that has one. */
function sandbox(platform: { os: string; architecture: string } | null): NonNullable<Fault["rpc"]> {
  return async (call, next) => {
    if (!isSandbox(call)) return await next();
    if (call.method === "Platform") return new Reply(messages.PlatformResponse.encode({ platform }).finish());
    return new Reply(new Uint8Array());
  };
}

export const restartFaults: readonly Fault[] = [
  {
    name: "what ends while nobody is connected is forgotten",
    by: ["RS-3.wait", "RS-3.exec"],
    also: ["*"],
    closed: ({ served }) => served.memory.set("away", true),
    rpc: async (call, next) => {
      const { memory } = call.wire.served;
      return memory.has("away") && call.is("Wait") ? Reply.refusal(5) : await next();
    },
  },
  {
    name: "a shim that 2.3 has started leaves no address",
    by: ["RS-4.2.3", "RS-4.2.4"],
    answer: (_, call) => {
      if (call.action === "start" && isBootstrap(call)) rmSync(join(call.cwd, "address"), { force: true });
    },
  },
  {
    name: "a shim that 1.6 has started leaves no address",
    by: ["RS-4.1.6", "RS-4.1.7", "RS-4.2.0", "RS-4.2.2"],
    answer: (_, call) => {
      if (call.action === "start" && !isBootstrap(call)) rmSync(join(call.cwd, "address"), { force: true });
    },
  },
];

export const sandboxFaults: readonly Fault[] = [
  {
    name: "a Sandbox service that is not there is NotFound",
    by: ["SB-1.absent"],
    rpc: async (call, next) => (isSandbox(call) && call.method !== "Platform" ? Reply.refusal(5) : await next()),
  },
  {
    name: "a sandbox that is shut down stays",
    by: ["SB-1.life"],
    also: ["SB-1.*"],
    rpc: sandbox({ os: "linux", architecture: "amd64" }),
  },
  { name: "a sandbox has no platform", by: ["SB-1.platform"], also: ["SB-1.*"], rpc: sandbox(null) },
  {
    name: "a container that no start was called for is refused",
    by: ["ST-4b", "DL-7.delete"],
    rpc: async (call, next) =>
      call.is("Create") && !existsSync(join(call.request("Create").bundle, "address"))
        ? Reply.refusal(9)
        : await next(),
  },
  {
    name: "Delete leaves the mount of a second container to the binary call",
    by: ["DL-7.delete"],
    rpc: afterDeleteIn((bundle, call) => {
      if (isSecond(call)) leaveMount({ ...call.wire.served.call, cwd: bundle });
    }),
  },
  {
    name: "delete of a sandbox of version 3 leaves its containers",
    by: ["DL-7.killed"],
    answer: (answer, call) => {
      const address = new TextDecoder().decode(answer.stdout);
      if (call.action !== "start" || !address.startsWith("unix://")) return;
      answer.stdout = new TextEncoder().encode(JSON.stringify({ version: 3, address, protocol: "ttrpc" }));
    },
  },
];

export const checkpointFaults: readonly Fault[] = [
  {
    name: "a checkpoint ends the container",
    needs: "criu",
    by: ["CP-1.running"],
    rpc: asks("Checkpoint", (request) => {
      request.options = { type_url: "containerd.runc.v1.CheckpointOptions", value: new Uint8Array([8, 1]) };
    }),
  },
  {
    name: "a checkpoint is not told of",
    needs: "criu",
    by: ["CP-1.event"],
    event: async (event, deliver) => (event.topic === "/tasks/checkpointed" ? 0 : await deliver(event)),
  },
  {
    name: "the option exit of a checkpoint is ignored",
    needs: "criu",
    by: ["CP-1.exit", "T-CRE-10", "CP-3"],
    rpc: asks("Checkpoint", (request) => {
      request.options = null;
    }),
  },
  {
    name: "a container to be restored begins anew",
    needs: "criu",
    by: ["T-CRE-10", "CP-3"],
    rpc: asks("Create", (request) => {
      request.checkpoint = "";
    }),
  },
  { name: "an exec before the restore is taken", needs: "criu", by: ["CP-3"], rpc: accepts("Exec") },
  {
    name: "a checkpoint without criu is told to be done",
    by: ["CP-4"],
    also: ["CP-2.*"],
    rpc: accepts("Checkpoint"),
  },
  {
    name: "a checkpoint that fails ends the container",
    by: ["CP-4"],
    rpc: async (call, next) => {
      const reply = await next();
      const pid = call.wire.served.memory.get("pid");
      if (call.is("Checkpoint") && reply.code !== 0 && typeof pid === "number") {
        process.kill(pid, "SIGKILL");
        await Bun.sleep(100);
      }
      if (call.is("Create") && reply.code === 0) call.wire.served.memory.set("pid", reply.answer("Create").pid);
      return reply;
    },
  },
];
