/** Faults of exit statuses, stats, and what a shim keeps to itself. */

import { io as v1 } from "../../../proto/gen/cgroups1.js";
import { io as v2 } from "../../../proto/gen/cgroups2.js";
import { isCgroup2 } from "../../conformance/rig/machine.ts";
import { wide } from "../../conformance/rig/number.ts";
import type { Fault, Served } from "../fault.ts";
import { dialUpstream } from "../link.ts";
import { Reply } from "../rpc.ts";
import { answers, delays, loses, ofInit } from "./make.ts";

/** Exit statuses are told wrong, by Wait. */
function exits(name: string, by: readonly string[], change: (status: number) => number): Fault {
  const rpc = answers("Wait", (answer) => {
    answer.exitStatus = change(answer.exitStatus);
  });
  return { name, by, also: ["*"], rpc };
}

type V1 = v1.containerd.cgroups.v1.Metrics;
type V2 = v2.containerd.cgroups.v2.Metrics;

/** A figure of the stats is wrong, on either version of cgroups. */
function figures(name: string, by: string, change1: (metrics: V1) => void, change2: (metrics: V2) => void): Fault {
  const rpc = answers("Stats", (answer) => {
    const value = answer.stats?.value ?? new Uint8Array();
    const codec = isCgroup2() ? v2.containerd.cgroups.v2.Metrics : v1.containerd.cgroups.v1.Metrics;
    const metrics = codec.decode(value);
    if (isCgroup2()) change2(metrics as V2);
    else change1(metrics as V1);
    answer.stats = { type_url: answer.stats?.type_url ?? "", value: codec.encode(metrics as never).finish() };
  });
  return { name, by: [by], rpc };
}

/** Connections that nobody closes cost the shim a descriptor each. */
async function leaveDescriptors({ realSocket }: Served, count: number): Promise<void> {
  for (let n = 0; n < count; n++) await dialUpstream(realSocket, { data: () => undefined, close: () => undefined });
}

export const exitFaults: readonly Fault[] = [
  exits("an exit status of 255 is told as -1", ["PR-4.code-255"], (status) => (status === 255 ? 0xffff_ffff : status)),
  exits("a signal is told without 128", ["PR-4.sighup", "PR-4.sigsegv", "PR-4.sigterm", "PR-4.sigkill"], (status) =>
    status > 128 && status < 160 ? status - 128 : status,
  ),
  exits("every failure is told as 1", ["PR-4.code-42", "PR-4.code-127"], (status) => (status === 0 ? 0 : 1)),
  exits("the exit status is always 0", ["PR-4.code-1", "PR-4.code-42"], () => 0),
  exits("success is told as 255", ["PR-4.code-0"], (status) => (status === 0 ? 255 : status)),
  {
    name: "thirty exits at once are too many",
    by: ["PR-1.coalesced"],
    also: ["T-*"],
    timeout: 6,
    rpc: async (call, next) => (call.is("Wait") && call.target.endsWith("/e29") ? undefined : await next()),
  },
  {
    name: "an exit that nobody asked for is not seen",
    by: ["PR-4.behind-the-back"],
    also: ["*"],
    timeout: 5,
    rpc: async (call, next) => {
      const { memory } = call.wire.served;
      if (call.is("Kill")) memory.set(`killed ${call.target}`, true);
      const reply = await next();
      return call.is("Wait") && !memory.has(`killed ${call.target}`) ? undefined : reply;
    },
  },
  {
    name: "an exit is told when the output ends",
    by: ["PR-2"],
    timeout: 20,
    rpc: async (call, next) => {
      const reply = await next();
      if (call.is("Wait") && !ofInit(call)) await Bun.sleep(4000);
      return reply;
    },
  },
  { name: "an OOM is never told", by: ["PR-4.oom"], also: ["PR-4.oom-order"], timeout: 10, event: loses("oom") },
  { name: "an OOM is told after the exit", by: ["PR-4.oom-order"], event: delays("oom", 1000) },
  { name: "a zombie stays", by: ["PR-1.zombies"], standIn: "sleep 0.01 & exec sleep 1000" },
  {
    name: "the type URL of stats has a host",
    by: ["T-STS-1.type"],
    rpc: answers("Stats", (answer) => {
      answer.stats = { ...answer.stats, type_url: `type.googleapis.com/${answer.stats?.type_url}` };
    }),
  },
  {
    name: "stats are empty",
    by: ["T-STS-1.pids", "T-STS-1.memory", "T-STS-1.limit", "T-STS-1.cpu"],
    rpc: answers("Stats", (answer) => {
      answer.stats = { ...answer.stats, value: new Uint8Array() };
    }),
  },
  figures(
    "memory is told in kilobytes",
    "T-STS-1.memory",
    ({ memory }) => {
      if (memory?.usage) memory.usage.usage = Math.floor(wide(memory.usage.usage) / 1024);
    },
    ({ memory }) => {
      if (memory) memory.usage = Math.floor(wide(memory.usage) / 1024);
    },
  ),
  figures(
    "the limit of memory is told in pages",
    "T-STS-1.limit",
    ({ memory }) => {
      if (memory?.usage) memory.usage.limit = Math.floor(wide(memory.usage.limit) / 4096);
    },
    ({ memory }) => {
      if (memory) memory.usageLimit = Math.floor(wide(memory.usageLimit) / 4096);
    },
  ),
  figures(
    "processor time is told in another unit",
    "T-STS-1.cpu",
    ({ cpu }) => {
      if (cpu?.usage) cpu.usage.total = Math.floor(wide(cpu.usage.total) / 1000);
    },
    ({ cpu }) => {
      if (cpu) cpu.usageUsec = wide(cpu.usageUsec) * 1000;
    },
  ),
  figures(
    "the number of processes is one less",
    "T-STS-1.pids",
    ({ pids }) => {
      if (pids) pids.current = wide(pids.current) - 1;
    },
    ({ pids }) => {
      if (pids) pids.current = wide(pids.current) - 1;
    },
  ),
  {
    name: "each connection leaves a descriptor",
    by: ["LK-1.connections"],
    also: ["LK-*"],
    closed: ({ served }) => void leaveDescriptors(served, 1).catch(() => undefined),
  },
  {
    name: "each exec leaves a descriptor",
    by: ["LK-1.execs"],
    rpc: async (call, next) => {
      const reply = await next();
      if (call.is("Delete") && !ofInit(call)) await leaveDescriptors(call.wire.served, 1);
      return reply;
    },
  },
  {
    name: "each Create that fails leaves two descriptors",
    by: ["LK-1.failed-creates"],
    rpc: async (call, next) => {
      const reply = await next();
      if (call.is("Create") && reply.code !== 0) await leaveDescriptors(call.wire.served, 2);
      return reply;
    },
  },
  {
    name: "calls are refused as Unavailable when there are many",
    by: ["SK-5.many-calls"],
    also: ["*"],
    rpc: async (call, next) => (call.stream > 60 ? Reply.refusal(14) : await next()),
  },
];
