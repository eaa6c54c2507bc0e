/**
 * Starts the good shim and takes its place at its socket: the shim's own is moved aside, and what is sent either way
 * goes through the fault. The event connection comes here too, by another TTRPC_ADDRESS.
 *
 * Usage: bun proxy.ts STATE-DIR, with a ProxyOrder on stdin
 */

import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { isAlive } from "../conformance/rig/machine.ts";
import {
  bytesField,
  concat,
  encodeRequest,
  frame,
  frameType,
  readFields,
  varintField,
} from "../conformance/rig/wire.ts";
import { relayEvents } from "./event-relay.ts";
import type { BinaryAnswer, BinaryCall, Served } from "./fault.ts";
import { findFault } from "./faults/index.ts";
import { dialUpstream, type Link } from "./link.ts";
import { callGood, noteName, type ProxyAnswer, type ProxyOrder } from "./order.ts";
import { Reply } from "./rpc.ts";
import { relayCalls } from "./rpc-relay.ts";

const order = JSON.parse(await Bun.stdin.text()) as ProxyOrder;
const fault = findFault(order.fault);
const call: BinaryCall = { ...order.call, stdin: Uint8Array.fromBase64(order.call.stdin) };
const eventSocket = join(order.state, `e${process.pid}`);
/** Where the kit takes events. */
const receiver = call.env["TTRPC_ADDRESS"] ?? "";
const served = Promise.withResolvers<Served>();

// Whoever calls start may leave off at once.
process.on("SIGPIPE", () => {});
const events = relayEvents(fault, eventSocket, receiver, served.promise);
const answer = await startShim();
const socket = /unix:\/\/(\/[!-~]+)/.exec(new TextDecoder("latin1").decode(answer.stdout))?.[1];
const aside = join(order.state, basename(socket ?? ""));
if (answer.exitCode !== 0 || socket === undefined || (await isServed(aside))) {
  // There is no shim, or it is one that has a proxy already: a group's.
  finish(answer);
} else {
  await serve(socket);
}

async function startShim(): Promise<BinaryAnswer> {
  const env = { ...call.env };
  if (receiver !== "") env["TTRPC_ADDRESS"] = eventSocket;
  return await callGood(order.shim, { ...call, env, stdin: redirected(call.stdin) });
}

/** BootstrapParams with the proxy's address for events; anything else as it is. */
function redirected(stdin: Uint8Array): Uint8Array {
  try {
    const fields = readFields(stdin);
    const text = (number: number): string =>
      new TextDecoder().decode(fields.find((field) => field.number === number)?.bytes);
    if (text(1) !== call.id || text(2) !== call.namespace) return stdin;
    return concat(
      ...fields.map(({ number, value, bytes }) => {
        if (number === 3) return varintField(3, value);
        return bytesField(number, number === 5 ? eventSocket : bytes);
      }),
    );
  } catch {
    return stdin;
  }
}

async function isServed(path: string): Promise<boolean> {
  if (!existsSync(path)) return false;
  try {
    (await dialUpstream(path, { data: () => undefined, close: () => undefined })).close();
    return true;
  } catch {
    return false;
  }
}

async function serve(path: string): Promise<void> {
  renameSync(path, aside);
  const gone = Promise.withResolvers<void>();
  const realPid = await meet(() => gone.resolve());
  const standIn = startStandIn(realPid);
  const here: Served = {
    call,
    shimPid: standIn?.pid ?? realPid,
    realPid,
    socket: path,
    realSocket: aside,
    memory: new Map(),
  };
  served.resolve(here);
  const umask = process.umask(0o177);
  const calls = relayCalls(fault, here);
  process.umask(umask);
  writeFileSync(join(call.cwd, noteName), JSON.stringify({ proxy: process.pid, shim: realPid }));
  fault.serving?.(here);
  tell(answer);
  await gone.promise;
  // What the shim has said last is still to be passed on.
  await Promise.all([calls.drained(), events.drained()]);
  while (isAlive(realPid)) await Bun.sleep(1);
  fault.ended?.(here);
  standIn?.kill("SIGKILL");
  rmSync(aside, { force: true });
  quit();
}

/** Connects to the good shim for as long as it lives, and asks it for its pid. */
async function meet(ended: () => void): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  const link: Link = await dialUpstream(aside, {
    data: (bytes) => resolve(bytes.slice(10)),
    close: () => {
      reject(new Error("the shim closed the connection"));
      ended();
    },
  });
  const request = { service: "containerd.task.v2.Task", method: "Connect", payload: bytesField(1, call.id) };
  link.write(frame(1, frameType.request, encodeRequest(request)));
  return Reply.read(await promise).answer("Connect").shimPid;
}

function startStandIn(realPid: number): Bun.Subprocess | undefined {
  if (fault.standIn === undefined) return undefined;
  const env = { ...call.env, SHIM: String(realPid) };
  return Bun.spawn(["sh", "-c", fault.standIn], { env, cwd: "/", stdin: "ignore", stdout: "ignore", stderr: "ignore" });
}

function tell({ exitCode, stdout, stderr }: BinaryAnswer): void {
  const line: ProxyAnswer = { exitCode, stdout: stdout.toBase64(), stderr };
  writeFileSync(1, `${JSON.stringify(line)}\n`);
}

function finish(last: BinaryAnswer): void {
  tell(last);
  quit();
}

/** Listeners are left as they are: what a shim leaves of its socket when it is killed is to stay (DL-8). */
function quit(): never {
  rmSync(eventSocket, { force: true });
  process.exit(0);
}
