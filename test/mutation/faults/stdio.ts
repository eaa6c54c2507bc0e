/** Faults of stdio. */

import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Fault } from "../fault.ts";
import { wrapsInit } from "./life.ts";
import { asks, swallows } from "./make.ts";

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
];
