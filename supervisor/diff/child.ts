/** Starting the processes that work on layers, and hearing of their end. */

import { ContainerdError, unknown } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import { layerCommand } from "./command.ts";
import type { Answer } from "./request.ts";

/** Takes what a process writes. */
export interface Writer {
  write(bytes: Uint8Array): Promise<void>;
}

/** Bytes of a complaint that are shown. */
const MAX_COMPLAINT = 1000;

/**
 * Runs one layer process to its end. It is killed when the signal is given.
 * @returns its answer on standard output
 * @throws ContainerdError what it answers, or Canceled
 */
export async function run<R>(action: string, request: object, signal: AbortSignal | undefined): Promise<R> {
  const { child, over } = start(action, request, signal);
  try {
    const [output, complaint] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    throwIfCanceled(signal);
    return resultOf<R>(output, complaint, endOf(child));
  } finally {
    over();
  }
}

/**
 * Like {@link run}, for a process that writes data to its standard output and answers on its standard error.
 * @param writer takes the data; what it throws ends the process
 */
export async function stream<R>(
  action: string,
  request: object,
  writer: Writer,
  signal: AbortSignal | undefined,
): Promise<R> {
  const { child, over } = start(action, request, signal);
  const answer = child.stderr.text();
  try {
    for await (const bytes of child.stdout) {
      throwIfCanceled(signal);
      await writer.write(bytes);
    }
    await child.exited;
    throwIfCanceled(signal);
    return resultOf<R>(await answer, "", endOf(child));
  } finally {
    child.kill("SIGKILL");
    over();
    // It has been asked for in vain when the writer failed.
    answer.catch(() => undefined);
  }
}

function start(action: string, request: object, signal: AbortSignal | undefined) {
  throwIfCanceled(signal);
  const child = Bun.spawn(layerCommand(action), {
    cwd: "/",
    env: {},
    stdin: Buffer.from(JSON.stringify(request)),
    stdout: "pipe",
    stderr: "pipe",
  });
  const kill = (): void => child.kill("SIGKILL");
  signal?.addEventListener("abort", kill);
  return { child, over: () => signal?.removeEventListener("abort", kill) };
}

function endOf({ signalCode, exitCode }: Bun.Subprocess): string {
  return signalCode === null ? `status ${exitCode}` : String(signalCode);
}

function throwIfCanceled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new ContainerdError(Code.Canceled, "context canceled");
}

function resultOf<R>(output: string, complaint: string, end: string): R {
  let said: Answer<R>;
  try {
    said = JSON.parse(output) as Answer<R>;
  } catch (cause) {
    const words = (complaint || output).slice(0, MAX_COMPLAINT) || "it said nothing";
    throw unknown(`the process for a layer ended with ${end}: ${words}`, cause);
  }
  if ("error" in said) throw new ContainerdError(said.error.code, said.error.message);
  return said.result;
}
