/** Faults of stdio. */

import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { descriptorsOf, isAlive } from "../../conformance/rig/machine.ts";
import { concat, encodeRequest, frame, frameType, varintField } from "../../conformance/rig/wire.ts";
import type { Fault, Served } from "../fault.ts";
import { dialUpstream } from "../link.ts";
import type { Method } from "../rpc.ts";
import { wrapsInit } from "./life.ts";
import { afterwards, asks, ofInit, swallows } from "./make.ts";

/** True when the kit, whose pid stands in the namespace, has the FIFO open. */
function isReadByKit(path: string, namespace: string): boolean {
  return descriptorsOf(Number.parseInt(namespace.split("-")[1] ?? "", 36)).includes(path);
}

/** Does something with init when the kit has read its stdout, and reads it no more. */
function whenUnread(act: (pid: number) => void): NonNullable<Fault["rpc"]> {
  return async (call, next) => {
    const reply = await next();
    const path = call.is("Create") ? call.request("Create").stdout : "";
    if (!path.startsWith("/") || reply.code !== 0) return reply;
    const { pid } = reply.answer("Create");
    let wasRead = false;
    const timer = setInterval(() => {
      const isRead = isReadByKit(path, call.wire.served.call.namespace);
      wasRead ||= isRead;
      if (isRead || !wasRead) return;
      clearInterval(timer);
      act(pid);
    }, 20);
    return reply;
  };
}

/** Makes a call of the good shim that the kit knows nothing of. */
async function callBehind({ realSocket }: Served, method: Method, payload: Uint8Array): Promise<void> {
  const link = await dialUpstream(realSocket, { data: () => link.close(), close: () => undefined });
  const request = { service: "containerd.task.v2.Task", method, payload };
  link.write(frame(1, frameType.request, encodeRequest(request)));
}

export const stdioFaults: readonly Fault[] = [
  {
    name: "stdout and stderr are swapped",
    by: ["IO-1.fifo"],
    also: ["*"],
    rpc: asks("Create", (request) => {
      [request.stdout, request.stderr] = [request.stderr, request.stdout];
    }),
  },
  {
    name: "the last line of init is lost",
    by: ["IO-5.short"],
    also: ["IO-*"],
    timeout: 8,
    rpc: wrapsInit((args) => ["sh", "-c", 'printf "%s" "$("$@")" | head -c 4', "sh", ...args]),
  },
  {
    name: "the last line on a console is lost",
    by: ["IO-7.last-line"],
    also: ["IO-*"],
    timeout: 8,
    rpc: wrapsInit(() => ["true"]),
  },
  {
    name: "output ends after a megabyte",
    by: ["IO-5.large"],
    timeout: 8,
    rpc: wrapsInit((args) => ["sh", "-c", '"$@" | head -c 1048576', "sh", ...args]),
  },
  {
    name: "the output of an exec goes nowhere",
    by: ["IO-5.exec"],
    also: ["*"],
    rpc: asks("Exec", (request) => {
      request.stdout = "";
      request.stderr = "";
    }),
  },
  {
    name: "stdin is not passed on",
    by: ["IO-6.stdin", "IO-6.drained"],
    also: ["IO-*"],
    timeout: 12,
    rpc: asks("Create", (request) => {
      request.stdin = "";
    }),
  },
  {
    name: "CloseIO is taken and closes nothing",
    by: ["IO-6.stdin", "IO-6.drained"],
    timeout: 8,
    rpc: swallows("CloseIO"),
  },
  {
    name: "ResizePty is taken and changes nothing",
    by: ["IO-7.resize", "IO-7.exec-console"],
    rpc: swallows("ResizePty"),
  },
  {
    name: "width and height are swapped",
    by: ["IO-7.resize", "IO-7.exec-console"],
    rpc: asks("ResizePty", (request) => {
      [request.width, request.height] = [request.height, request.width];
    }),
  },
  {
    name: "init has no console",
    by: ["IO-7.console"],
    also: ["IO-7.*"],
    timeout: 8,
    rpc: asks("Create", (request) => {
      request.terminal = false;
    }),
  },
  {
    name: "file:// begins anew",
    by: ["IO-1.file"],
    rpc: asks("Create", ({ stdout }) => {
      if (stdout.startsWith("file://")) rmSync(stdout.slice("file://".length), { force: true });
    }),
  },
  {
    name: "an unknown scheme is taken for /dev/null",
    by: ["IO-1.unknown"],
    rpc: asks("Create", (request) => {
      if (request.stdout.startsWith("nosuch:")) [request.stdout, request.stderr] = ["", ""];
    }),
  },
  {
    name: "the arguments of a logger are lost",
    by: ["IO-3.binary"],
    timeout: 15,
    rpc: asks("Create", (request) => {
      request.stdout = request.stdout.replace(/\?.*/, "");
      request.stderr = request.stderr.replace(/\?.*/, "");
    }),
  },
  {
    name: "a logger that cannot run is ignored",
    by: ["IO-3.silent"],
    rpc: asks("Create", (request) => {
      if (request.stdout.includes("/no/such/")) [request.stdout, request.stderr] = ["", ""];
    }),
  },
  {
    name: "stderr alone is not enough of a stdout",
    by: ["IO-1.stdout-alone"],
    rpc: asks("Create", (request) => {
      if (request.stderr === "") request.stdout = "";
    }),
  },
  {
    name: "init without stdio waits for input",
    by: ["IO-1.null"],
    rpc: asks("Create", (request) => {
      if (request.stdin !== "" || request.stdout !== "") return;
      request.stdin = join(request.bundle, "stdin");
      Bun.spawnSync(["mkfifo", request.stdin]);
    }),
  },
  {
    name: "of two outputs into one FIFO one is lost",
    by: ["IO-1.same"],
    rpc: asks("Create", (request) => {
      if (request.stdout === request.stderr && request.stdout.startsWith("/")) request.stderr = "";
    }),
  },
  {
    name: "a FIFO that is not there holds up Create for ever",
    by: ["IO-2.missing"],
    rpc: async (call, next) => {
      const path = call.is("Create") ? (call.request("Create").stdout ?? "") : "";
      return path.startsWith("/") && !existsSync(path) ? undefined : await next();
    },
  },
  {
    name: "State takes three seconds",
    by: ["IO-4.slow", "T-STT-4"],
    also: ["*"],
    rpc: async (call, next) => {
      if (call.is("State")) await Bun.sleep(3000);
      return await next();
    },
  },
  {
    name: "a process dies with its reader",
    by: ["IO-2.vanished"],
    also: ["IO-1.fifo"],
    rpc: whenUnread((pid) => void (isAlive(pid) && process.kill(pid, "SIGKILL"))),
  },
  {
    name: "stdin ends with its first client",
    by: ["IO-6.reopen"],
    // The shim's own end of the FIFO is what keeps it open: CloseIO takes that away, and no more.
    rpc: afterwards("Start", async (served, call) => {
      if (ofInit(call)) await callBehind(served, "CloseIO", concat(call.payload, varintField(3, 1)));
    }),
  },
];
