/** Faults in the life of a task: what calls do, and what their answers say. */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Fault } from "../fault.ts";
import { Reply, type RpcCall } from "../rpc.ts";
import { leaveCgroup, leaveMount, leaveProcess, leaveState } from "./leave.ts";
import { afterwards, answers, asks, createOptions, ofInit, swallows } from "./make.ts";

/** Changes the OCI process of an Exec. */
function execProcess(change: (process: Record<string, unknown>) => void): NonNullable<Fault["rpc"]> {
  return asks("Exec", (request) => {
    const text = new TextDecoder().decode(request.spec?.value ?? new Uint8Array());
    const process = JSON.parse(text) as Record<string, unknown> | string;
    if (typeof process === "string") return;
    change(process);
    request.spec = { type_url: request.spec?.type_url ?? "", value: new TextEncoder().encode(JSON.stringify(process)) };
  });
}

/** Leaves something after the container's Delete. */
function afterDelete(leave: (call: RpcCall) => void): NonNullable<Fault["rpc"]> {
  return afterwards("Delete", (_, call) => {
    if (ofInit(call)) leave(call);
  });
}

/** Does something after a Create that failed. */
function afterFailedCreate(leave: (call: RpcCall) => void): NonNullable<Fault["rpc"]> {
  return async (call, next) => {
    const reply = await next();
    if (call.is("Create") && reply.code !== 0) leave(call);
    return reply;
  };
}

export const lifeFaults: readonly Fault[] = [
  {
    name: "Create answers no pid",
    by: ["T-CRE-2.pid"],
    rpc: answers("Create", (answer) => {
      answer.pid = 0;
    }),
  },
  {
    name: "Start answers no pid",
    by: ["T-CRE-2.pid"],
    also: ["*"],
    rpc: answers("Start", (answer) => {
      answer.pid = 0;
    }),
  },
  {
    name: "Connect tells no task_pid",
    by: ["T-CRE-2.pid"],
    rpc: answers("Connect", (answer) => {
      answer.taskPid = 0;
    }),
  },
  {
    name: "Connect for another id is NotFound",
    by: ["T-CON-1"],
    rpc: async (call, next) => (call.is("Connect") && call.target === "nobody/" ? Reply.refusal(5) : await next()),
  },
  {
    name: "of two mounts the first alone is made",
    by: ["T-CRE-2.two-mounts"],
    also: ["T-CRE-4.mount"],
    rpc: asks("Create", (request) => {
      request.rootfs = request.rootfs.slice(0, 1);
    }),
  },
  {
    name: "a Create that fails leaves a mount",
    by: ["T-CRE-4.mount", "T-CRE-4.nothing-left"],
    also: ["T-CRE-*", "LK-*"],
    rpc: afterFailedCreate(({ wire }) => leaveMount(wire.served.call)),
  },
  {
    name: "a Create that fails leaves a process",
    by: ["T-CRE-4.mount", "T-CRE-4.nothing-left"],
    also: ["T-CRE-*"],
    rpc: afterFailedCreate(({ wire }) => leaveProcess(wire.served.call)),
  },
  {
    name: "a Create that fails leaves the state of runc",
    by: ["T-CRE-4.nothing-left"],
    rpc: afterFailedCreate(({ wire }) => leaveState(wire.served.call)),
  },
  {
    name: "after a Create that failed there is no other",
    by: ["T-CRE-4.again"],
    rpc: async (call, next) => {
      const { memory } = call.wire.served;
      if (call.is("Create") && memory.has("failed")) return Reply.refusal(9);
      const reply = await next();
      if (call.is("Create") && reply.code !== 0) memory.set("failed", true);
      return reply;
    },
  },
  {
    name: "what runc said is lost",
    by: ["T-CRE-4.command", "T-CRE-4.prefix", "T-STA-3.prefix"],
    rpc: async (call, next) => {
      const reply = await next();
      return reply.code !== 0 && call.is("Create", "Start") ? Reply.refusal(reply.code, "exit status 1") : reply;
    },
  },
  {
    name: "options of an unknown type are ignored",
    by: ["T-CRE-1.options"],
    rpc: asks("Create", (request) => {
      if (request.options?.type_url === "no.such.Options") request.options = null;
    }),
  },
  {
    name: "Options.root is ignored",
    by: ["T-CRE-1.root"],
    rpc: createOptions((options) => {
      options.root = "";
    }),
  },
  {
    name: "Options.binary_name is ignored",
    by: ["T-CRE-1.binary-name"],
    rpc: createOptions((options) => {
      options.binaryName = "";
    }),
  },
  {
    name: "a second Create is taken",
    by: ["T-CRE-5"],
    rpc: async (call, next) => {
      const reply = await next();
      return call.is("Create") && reply.code === 6 ? Reply.of("Create", { pid: 1 }) : reply;
    },
  },
  {
    name: "State tells no bundle",
    by: ["T-STT-1.fields"],
    also: ["SK-3.apart"],
    rpc: answers("State", (answer) => {
      answer.bundle = "";
    }),
  },
  {
    name: "State tells stderr as stdout",
    by: ["T-STT-1.fields"],
    rpc: answers("State", (answer) => {
      answer.stdout = answer.stderr;
    }),
  },
  {
    name: "State tells of a terminal that is not there",
    by: ["T-STT-1.fields"],
    rpc: answers("State", (answer) => {
      answer.terminal = true;
    }),
  },
  {
    name: "an added exec has a pid",
    by: ["T-EXE-4"],
    rpc: answers("State", (answer, call) => {
      if (!ofInit(call) && answer.pid === 0) answer.pid = 4242;
    }),
  },
  {
    name: "the user of an exec is ignored",
    by: ["T-EXE-1.spec"],
    rpc: execProcess((process) => {
      process["user"] = { uid: 0, gid: 0 };
    }),
  },
  {
    name: "the environment of an exec is ignored",
    by: ["T-EXE-1.spec"],
    rpc: execProcess((process) => {
      process["env"] = ["PATH=/bin:/usr/bin"];
    }),
  },
  {
    name: "an exec that failed to start keeps its waiters",
    by: ["T-STA-6.wait"],
    rpc: async (call, next) => {
      const { memory } = call.wire.served;
      const reply = await next();
      if (call.is("Start") && reply.code !== 0) memory.set(call.target, true);
      if (!call.is("Wait") || ofInit(call)) return reply;
      // Start is refused, and answered, at about the same time.
      await Bun.sleep(50);
      return memory.has(call.target) ? undefined : reply;
    },
  },
  {
    name: "an exec is started when init is gone",
    by: ["T-STA-4"],
    rpc: async (call, next) => {
      const reply = await next();
      const late = call.is("Start") && !ofInit(call) && [2, 9].includes(reply.code);
      return late ? Reply.of("Start", { pid: 4242 }) : reply;
    },
  },
  {
    name: "State waits while execs are started",
    by: ["T-STT-4"],
    timeout: 20,
    rpc: async (call, next) => {
      const { memory } = call.wire.served;
      const busy = (): number => Number(memory.get("busy") ?? 0);
      if (call.is("State") && busy() > 5) await Bun.sleep(2500);
      if (!call.is("Start")) return await next();
      memory.set("busy", busy() + 1);
      try {
        return await next();
      } finally {
        memory.set("busy", busy() - 1);
      }
    },
  },
  {
    name: "Wait answers while the process lives",
    by: ["T-WAI-1.blocks", "SK-5.concurrent", "TT-6.wait"],
    also: ["*"],
    rpc: async (call, next) =>
      call.is("Wait") ? await Promise.race([next(), Bun.sleep(40).then(() => Reply.of("Wait", {}))]) : await next(),
  },
  {
    name: "Wait tells each waiter another time",
    by: ["T-WAI-1.many"],
    rpc: answers("Wait", (answer, call) => {
      answer.exitedAt = { ...answer.exitedAt, nanos: call.stream };
    }),
  },
  {
    name: "Wait tells a time of an hour ago",
    by: ["T-WAI-1.time", "T-WAI-1.many"],
    also: ["EV-1.exit"],
    rpc: answers("Wait", (answer) => {
      const seconds = Math.floor(Date.now() / 1000) - 3600;
      answer.exitedAt = { seconds, nanos: 0 };
    }),
  },
  {
    name: "Wait tells no time",
    by: ["T-WAI-1.time", "T-WAI-1.many"],
    also: ["EV-1.exit"],
    rpc: answers("Wait", (answer) => {
      answer.exitedAt = null;
    }),
  },
  {
    name: "Delete tells another exit than Wait",
    by: ["T-WAI-1.many"],
    rpc: answers("Delete", (answer) => {
      answer.exitStatus = 0;
    }),
  },
  {
    name: "Delete answers no pid",
    by: ["T-DEL-1.pid"],
    rpc: answers("Delete", (answer) => {
      answer.pid = 0;
    }),
  },
  {
    name: "every signal is SIGKILL",
    by: ["T-KIL-1.signal", "PR-4.sigterm"],
    rpc: asks("Kill", (request) => {
      request.signal = 9;
    }),
  },
  {
    name: "Kill with all kills init alone",
    by: ["T-KIL-4"],
    timeout: 4,
    rpc: async (call, next) => {
      if (!call.is("Kill") || !call.request("Kill").all) return await next();
      // Init is frozen out: the shim that would end the others sees nothing of it.
      return Reply.of("Kill", {});
    },
  },
  {
    name: "Kill of an exec kills init",
    by: ["T-KIL-2.init-lives"],
    also: ["T-KIL-2.*"],
    timeout: 4,
    rpc: asks("Kill", (request) => {
      request.execId = "";
    }),
  },
  {
    name: "Pids tells of no exec",
    by: ["T-PID-1"],
    rpc: answers("Pids", (answer) => {
      for (const process of answer.processes) process.info = null;
    }),
  },
  {
    name: "Pids tells of init alone",
    by: ["T-PID-1"],
    rpc: answers("Pids", (answer) => {
      answer.processes = answer.processes.slice(0, 1);
    }),
  },
  { name: "Update is taken and changes nothing", by: ["T-UPD-1.limit"], rpc: swallows("Update") },
  {
    name: "Pause is taken and stops nothing",
    by: ["T-PAU-1.frozen", "T-PAU-1.pause-running"],
    rpc: swallows("Pause", "Resume"),
  },
  {
    name: "Resume is taken and nothing goes on",
    by: ["T-PAU-1.frozen", "T-PAU-1.resume-paused"],
    timeout: 12,
    rpc: swallows("Resume"),
  },
  {
    name: "Delete leaves a process",
    by: ["T-DEL-3.nothing-left"],
    rpc: afterDelete(({ wire }) => leaveProcess(wire.served.call)),
  },
  {
    name: "Delete leaves a mount",
    by: ["T-DEL-3.nothing-left"],
    rpc: afterDelete(({ wire }) => leaveMount(wire.served.call)),
  },
  {
    name: "Delete leaves a cgroup",
    by: ["T-DEL-3.nothing-left"],
    rpc: afterDelete(({ wire }) => leaveCgroup(wire.served.call)),
  },
  {
    name: "Delete leaves the state of runc",
    by: ["T-DEL-3.nothing-left"],
    rpc: afterDelete(({ wire }) => leaveState(wire.served.call)),
  },
  {
    name: "Delete removes the bundle",
    by: ["T-DEL-3.bundle"],
    rpc: afterDelete(({ wire }) => rmSync(join(wire.served.call.cwd, "config.json"))),
  },
  {
    name: "Delete leaves what is mounted below the rootfs",
    by: ["UN-3.nested"],
    rpc: async (call, next) => {
      if (!call.is("Delete")) return await next();
      const path = join(call.wire.served.call.cwd, "rootfs", "tmp");
      const isMounted = readFileSync("/proc/self/mountinfo", "utf8").includes(` ${path} `);
      const reply = await next();
      if (!isMounted) return reply;
      mkdirSync(path, { recursive: true });
      Bun.spawnSync(["mount", "-t", "tmpfs", "tmpfs", path]);
      return reply;
    },
  },
  {
    name: "options of an overlay are cut at a page",
    by: ["UN-2.layers"],
    rpc: asks("Create", (request) => {
      for (const mount of request.rootfs) {
        const { options } = mount;
        if (options && options.join(",").length > 4096) mount.options = options.map((word) => word.slice(0, 3000));
      }
    }),
  },
  {
    name: "a Delete that is given up deletes half",
    by: ["T-DEL-5"],
    timeout: 4,
    rpc: async (call, next) => {
      const { memory } = call.wire.served;
      if (!call.is("Delete", "State")) return await next();
      if (call.timeoutMs !== undefined) memory.set("half", true);
      return memory.has("half") ? Reply.refusal(9, "it is being deleted") : await next();
    },
  },
  {
    name: "Shutdown ends a shim that has a container",
    by: ["T-SHU-1.busy"],
    also: ["T-SHU-1.*"],
    rpc: async (call, next) => {
      if (call.is("Shutdown")) process.kill(call.wire.served.realPid, "SIGKILL");
      return await next();
    },
  },
  {
    name: "a killed init that was never started is CREATED for ever",
    by: ["T-STT-3"],
    timeout: 4,
    rpc: async (call, next) => {
      const { memory } = call.wire.served;
      if (call.is("Start")) memory.set("started", true);
      const reply = await next();
      return call.is("Wait") && !memory.has("started") ? undefined : reply;
    },
  },
  {
    name: "refused calls make the shim stop answering",
    by: ["PR-8.log"],
    timeout: 6,
    rpc: async (call, next) => {
      const { memory } = call.wire.served;
      const reply = await next();
      const refused = Number(memory.get("refused") ?? 0) + (reply.code === 0 ? 0 : 1);
      memory.set("refused", refused);
      return refused > 200 ? undefined : reply;
    },
  },
];

/** Rewrites the command of init before the good shim creates it. */
export function wrapsInit(change: (args: readonly string[]) => readonly string[]): NonNullable<Fault["rpc"]> {
  return async (call, next) => {
    if (call.is("Create")) {
      const path = join(call.request("Create").bundle, "config.json");
      const config = JSON.parse(readFileSync(path, "utf8")) as { process: { args: readonly string[] } };
      config.process.args = change(config.process.args);
      writeFileSync(path, JSON.stringify(config));
    }
    return await next();
  };
}
