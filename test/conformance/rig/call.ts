/** Binary calls of a shim (contract 1.1): a process, all that it says, and a limit. */

import { show } from "../assert.ts";
import { Violation } from "../check.ts";
import type { Transcript } from "./transcript.ts";

/** One call. */
export interface BinaryCall {
  readonly program: string;
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly stdin?: Uint8Array;
  /** In milliseconds, 10 s unless told. */
  readonly limit?: number;
}

/** What a call left behind. */
export interface BinaryAnswer {
  readonly exitCode: number;
  readonly stdout: Uint8Array;
  readonly stderr: string;
  /** Until both streams had ended, in milliseconds: a process that holds one makes this long. */
  readonly ms: number;
}

/** What a call may say before it is cut short: no shim has so much to say. */
const maxOutput = 1 << 20;

/**
 * Makes a call and reads both streams to their ends, which is what containerd waits for (ST-5, ST-10).
 * @throws Violation when the call, or what it left running, holds a stream past the limit
 */
export async function callBinary(call: BinaryCall, transcript: Transcript): Promise<BinaryAnswer> {
  const begun = performance.now();
  const { program, argv, limit = 10_000, stdin = new Uint8Array() } = call;
  const line = [program, ...argv].join(" ");
  let child: Bun.Subprocess<Uint8Array | "ignore", "pipe", "pipe">;
  try {
    child = Bun.spawn([program, ...argv], {
      cwd: call.cwd,
      env: { ...call.env },
      stdin: stdin.length > 0 ? stdin : "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
  } catch (error) {
    throw new Violation(`${line} to be executable`, (error as Error).message);
  }
  const sent = `${line} (stdin: ${show(stdin)})`;
  let timer: Timer | undefined;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), limit);
  });
  const streams = Promise.all([capped(child.stdout), capped(child.stderr), child.exited]);
  const ended = await Promise.race([streams, late]);
  clearTimeout(timer);
  if (ended === "late") {
    const held = child.exitCode === null ? "it still ran" : "it had ended, but stdout or stderr was still held open";
    child.kill("SIGKILL");
    transcript.add("call", `${sent} -> no end after ${limit} ms`);
    throw new Violation(`the call to end, and its stdout and stderr, within ${limit} ms: ${line}`, held);
  }
  const [stdout, stderr, exitCode] = ended;
  const ms = performance.now() - begun;
  const said = `status ${exitCode}, stdout ${show(printable(stdout))}, stderr ${show(new TextDecoder().decode(stderr))}`;
  transcript.add("call", `${sent} -> ${said}, ${Math.round(ms)} ms`);
  return { exitCode, stdout, stderr: new TextDecoder().decode(stderr), ms };
}

/** Text where it is text, else the bytes. */
function printable(bytes: Uint8Array): string | Uint8Array {
  const text = new TextDecoder().decode(bytes);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return /[\u0000-\u0008\ufffd]/.test(text) ? bytes : text;
}

/** All that a stream has, up to {@link maxOutput}; the rest is not read. */
async function capped(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of stream) {
    parts.push(part);
    length += part.length;
    if (length > maxOutput) break;
  }
  return new Uint8Array(Buffer.concat(parts));
}
