/** One check: an exec in the container that leaves nothing behind, however it ends. */

import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { ContainerdError, messageOf } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Any } from "../../proto/typeurl.ts";
import type { Task } from "../task/task.ts";
import { Output } from "./output.ts";
import type { Outcome } from "./standing.ts";

/** What a check of a task needs. */
export interface Probe {
  readonly task: Pick<Task, "exec" | "start" | "wait" | "kill" | "deleteExec">;
  /** See processOf. */
  readonly process: Any;
  readonly timeoutMs: number;
  /** Directory of FIFOs. */
  readonly directory: string;
}

/**
 * The exec's id, the same for each check of a container: there is one at a time, and one that a daemon could not take
 * away is found by the next.
 */
export const EXEC_ID = "berth-health-check";
const SIGKILL = 9;
/** A killed process ends within this; one that hangs in the kernel is left to the next check. */
const KILLED_MS = 5_000;
/** Of an error, this much is kept. */
const MAX_ERROR = 4 << 10;

/** Makes one check. A container that ends meanwhile makes it an error or a failure: the caller asks. Never rejects. */
export async function probe(options: Probe): Promise<Outcome> {
  const at = Date.now();
  const begun = performance.now();
  const outcome = (result: Outcome["result"], exitCode: number, output: string): Outcome => {
    return { result, exitCode, output, at, ms: Math.round(performance.now() - begun) };
  };
  let output: Output | undefined;
  try {
    output = new Output(join(options.directory, randomBytes(8).toString("hex")));
    const status = await run(options, output.path);
    const text = await output.take();
    if (status === undefined) return outcome("timeout", -1, text || `no end after ${options.timeoutMs} ms`);
    return outcome(status === 0 ? "success" : "failure", status, text);
  } catch (error) {
    return outcome("error", -1, messageOf(error).slice(0, MAX_ERROR));
  } finally {
    output?.close();
  }
}

/** @returns the exit status; undefined when it did not end in time @throws ContainerdError when it cannot be run */
async function run(options: Probe, path: string): Promise<number | undefined> {
  const { task, process, timeoutMs } = options;
  const stdio = { stdin: "", stdout: path, stderr: path, terminal: false };
  try {
    await task.exec(EXEC_ID, stdio, process);
  } catch (error) {
    if (!(error instanceof ContainerdError) || error.code !== Code.AlreadyExists) throw error;
    await remove(task);
    await task.exec(EXEC_ID, stdio, process);
  }
  try {
    const pid = await task.start(EXEC_ID);
    const exit = task.wait(EXEC_ID);
    const status = await within(exit, timeoutMs);
    if (status === undefined) await end(task, pid, exit);
    return status;
  } finally {
    await task.deleteExec(EXEC_ID).catch(() => undefined);
  }
}

/** Ends a check that takes too long, with what it has started: runc makes it the leader of a session and a group. */
async function end(task: Probe["task"], pid: number, exit: ReturnType<Task["wait"]>): Promise<void> {
  try {
    if (pid > 1) globalThis.process.kill(-pid, SIGKILL);
  } catch {
    // It has no group of its own, or has just ended.
  }
  await task.kill(EXEC_ID, SIGKILL, false).catch(() => undefined);
  await within(exit, KILLED_MS).catch(() => undefined);
}

/** Takes away what an earlier check has left. Never rejects. */
async function remove(task: Probe["task"]): Promise<void> {
  const exit = task.wait(EXEC_ID);
  await task.kill(EXEC_ID, SIGKILL, false).catch(() => undefined);
  await within(exit, KILLED_MS).catch(() => undefined);
  await task.deleteExec(EXEC_ID).catch(() => undefined);
}

/** The exit status, or undefined after `ms`. */
async function within(exit: ReturnType<Task["wait"]>, ms: number): Promise<number | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), ms);
  try {
    return await Promise.race([exit.then(({ status }) => status), late]);
  } finally {
    clearTimeout(timer);
    exit.catch(() => undefined);
  }
}
