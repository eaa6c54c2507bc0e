/**
 * A shim with one fault, as the kit calls it: passes each binary call on to the good shim, and puts a proxy before the
 * one that serves.
 *
 * Usage: bun wrapper.ts FAULT GOOD-SHIM STATE-DIR SHIM-ARGUMENT...
 */

import { mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isAlive } from "../conformance/rig/machine.ts";
import type { BinaryAnswer, BinaryCall, Fault } from "./fault.ts";
import { findFault } from "./faults/index.ts";
import { callGood, noteName, type ProxyAnswer, type ProxyOrder } from "./order.ts";

const [name = "", shim = "", state = "", ...argv] = process.argv.slice(2);
const fault = findFault(name);
const answer = await respond(fault, await readCall());
await Bun.write(Bun.stdout, answer.stdout);
await Bun.write(Bun.stderr, answer.stderr);
process.exit(answer.exitCode);

async function readCall(): Promise<BinaryCall> {
  const flag = (word: string): string => {
    for (const [index, given] of argv.entries()) {
      const bare = given.replace(/^--?/, "");
      if (bare === word) return argv[index + 1] ?? "";
      if (bare.startsWith(`${word}=`)) return bare.slice(word.length + 1);
    }
    return "";
  };
  const last = argv.at(-1) ?? "";
  return {
    argv,
    stdin: await Bun.stdin.bytes(),
    env: { ...process.env } as Record<string, string>,
    cwd: process.cwd(),
    action: last,
    id: flag("id"),
    namespace: flag("namespace"),
    nth: count(last),
  };
}

/** Each call takes a number of its own, however many are under way. */
function count(action: string): number {
  for (let n = 1; ; n++) {
    try {
      mkdirSync(join(state, `${action.replace(/\W/g, "_")}-${n}`));
      return n;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
}

async function respond({ call: before, answer: after }: Fault, call: BinaryCall): Promise<BinaryAnswer> {
  await oldProxyEnded(call);
  const own = await before?.(call);
  const answer = own ?? (call.action === "start" ? await startServing(call) : await callGood(shim, call));
  if (own === undefined) await after?.(answer, call);
  return answer;
}

/** A proxy outlives its shim for as long as its last answers take; the socket is nobody's only after that. */
async function oldProxyEnded({ cwd }: BinaryCall): Promise<void> {
  let note: { proxy: number; shim: number };
  try {
    note = JSON.parse(readFileSync(join(cwd, noteName), "utf8")) as typeof note;
  } catch {
    return;
  }
  while (!isAlive(note.shim) && isAlive(note.proxy)) await Bun.sleep(1);
}

/**
 * Has a proxy start the good shim; the state directory stands in its command line, so that it can be found. It carries the kit's token nowhere, since it is no part of what the kit looks for,
 * and ends when the good shim does.
 */
async function startServing(call: BinaryCall): Promise<BinaryAnswer> {
  const order: ProxyOrder = { fault: name, shim, state, call: { ...call, stdin: call.stdin.toBase64() } };
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "proxy.ts"), state], {
    cwd: "/",
    env: { PATH: process.env["PATH"] ?? "" },
    stdin: new TextEncoder().encode(JSON.stringify(order)),
    stdout: "pipe",
    stderr: openSync(join(state, "log"), "a"),
    detached: true,
  });
  let text = "";
  for await (const part of child.stdout) {
    text += new TextDecoder().decode(part);
    if (text.endsWith("\n")) break;
  }
  if (text === "") throw new Error(`the proxy ended without a word: see ${join(state, "log")}`);
  const answer = JSON.parse(text) as ProxyAnswer;
  return { ...answer, stdout: Uint8Array.fromBase64(answer.stdout) };
}
