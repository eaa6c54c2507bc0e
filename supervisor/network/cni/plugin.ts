/** Finding plugins and calling them (spec 1.0, section 2). */

import { accessSync, constants, statSync } from "node:fs";
import { join } from "node:path";
import { isObject } from "./conf.ts";
import { CniError, cniCode, pluginError } from "./error.ts";

/** Milliseconds that one call of a plugin may take; iptables waits for others that change rules. */
export const PLUGIN_MS = 45_000;
/** Longest answer. */
const MAX_ANSWER = 4 << 20;
/** A plugin that was killed may have left a child with its pipes. Milliseconds. */
const DRAIN_MS = 1_000;

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Verbs of the specification. */
export type Command = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION";

/** One call. */
export interface Call {
  /** Names for messages. */
  readonly network: string;
  readonly plugin: string;
  readonly command: Command;
  readonly dirs: readonly string[];
  readonly config: unknown;
  readonly containerId?: string;
  readonly netns?: string;
  readonly ifName?: string;
  /** CNI_ARGS. */
  readonly args?: string;
  readonly timeoutMs?: number | undefined;
}

/** The path of a plugin; undefined when no directory has it. */
export function findPlugin(type: string, dirs: readonly string[]): string | undefined {
  for (const dir of dirs) {
    const path = join(dir, type);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      // the next one
    }
  }
  return undefined;
}

/** The error for a plugin that is not there. */
export function missingPlugin(network: string, type: string, dirs: readonly string[]): CniError {
  const msg = `plugin ${type} is in none of ${dirs.join(", ")}`;
  return new CniError(`network ${network}: ${msg}: apt install containernetworking-plugins`, {
    ...{ code: 0, msg, details: "" },
  });
}

/**
 * Calls a plugin. Bun.spawn and not execa: a container's start waits for half a dozen calls, and execa costs 28 MB and
 * more time to load than all of them take.
 * @returns what it answered, parsed; undefined for nothing
 * @throws CniError
 */
export async function callPlugin(call: Call): Promise<unknown> {
  const { network, plugin, command, dirs, timeoutMs = PLUGIN_MS } = call;
  const path = findPlugin(plugin, dirs);
  if (path === undefined) throw missingPlugin(network, plugin, dirs);
  const child = Bun.spawn([path], {
    stdin: new Blob([JSON.stringify(call.config)]),
    stdout: "pipe",
    stderr: "pipe",
    cwd: "/",
    // Its own group, so that what it started can be ended with it.
    detached: true,
    env: {
      PATH: process.env["PATH"] || defaultPath,
      CNI_COMMAND: command,
      CNI_CONTAINERID: call.containerId ?? "",
      CNI_NETNS: call.netns ?? "",
      CNI_IFNAME: call.ifName ?? "",
      CNI_ARGS: call.args ?? "",
      CNI_PATH: dirs.join(":"),
    },
  });
  let isLate = false;
  const limit = setTimeout(() => {
    isLate = true;
    endGroup(child.pid);
  }, timeoutMs);
  try {
    const output = Promise.all([text(child.stdout), text(child.stderr)]);
    await child.exited;
    const cut = Bun.sleep(isLate ? DRAIN_MS : timeoutMs).then(() => ["", ""] as const);
    const [stdout, stderr] = await Promise.race([output, cut]);
    if (isLate) {
      throw pluginError(network, plugin, command, {
        ...{ code: cniCode.tryAgainLater, msg: `it did not answer in ${timeoutMs / 1000} s`, details: stderr },
      });
    }
    if (child.exitCode === 0) return answerOf(call, stdout);
    throw pluginError(network, plugin, command, failureOf(stdout, stderr, child));
  } finally {
    clearTimeout(limit);
  }
}

function answerOf({ network, plugin, command }: Call, stdout: string): unknown {
  if (stdout.trim() === "") return undefined;
  try {
    return JSON.parse(stdout);
  } catch {
    // Only these have an answer that is needed; some old plugins say "null" or more than nothing for others.
    if (command !== "ADD" && command !== "VERSION") return undefined;
    throw pluginError(network, plugin, command, {
      ...{ code: cniCode.decoding, msg: "its answer is not JSON", details: stdout.slice(0, 200) },
    });
  }
}

function failureOf(stdout: string, stderr: string, { exitCode, signalCode }: Bun.Subprocess): CniError["failure"] {
  try {
    const answer: unknown = JSON.parse(stdout);
    if (isObject(answer) && typeof answer["msg"] === "string") {
      const { code, msg, details } = answer;
      return {
        code: typeof code === "number" ? code : 0,
        msg: String(msg),
        details: typeof details === "string" ? details : "",
      };
    }
  } catch {
    // Not the specification's error: then what it said on standard error.
  }
  const how = signalCode === null ? `it ended with status ${exitCode}` : `it was ended by ${signalCode}`;
  return { code: 0, msg: how, details: (stderr || stdout).slice(0, 1000) };
}

function endGroup(pid: number): void {
  for (const target of [-pid, pid]) {
    try {
      process.kill(target, "SIGKILL");
    } catch {
      // gone already
    }
  }
}

async function text(stream: ReadableStream<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    // The rest is read and dropped, so that the plugin is not stopped by a full pipe.
    if (size <= MAX_ANSWER) chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
