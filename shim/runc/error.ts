/** What runc says when it fails, and what that means to a client (PR-4, T-CRE-4, T-KIL-1). */

import { type ContainerdError, deadlineExceeded, messageOf, notFound, unknown } from "../../proto/errdefs.ts";
import { readFile } from "../linux/file.ts";

/** A runc command that did not succeed. */
export class RuncError extends Error {
  override readonly name = "RuncError";
  /** What runc said, or why it was not heard. */
  readonly said: string;
  /** `start`: it could not be executed; `timeout` and `canceled`: we killed it; `failed`: it said so itself. */
  readonly kind: "start" | "timeout" | "canceled" | "failed";

  constructor(command: string, said: string, kind: RuncError["kind"]) {
    const reason =
      kind === "timeout" ? "did not end in time and was killed" : kind === "canceled" ? "was canceled" : said;
    super(`${command}: ${reason}`);
    this.said = reason;
    this.kind = kind;
  }
}

/** The last message of level error in runc's JSON log; undefined when there is none. */
export function lastLogError(path: string): string | undefined {
  let text: string;
  try {
    text = readFile(path, 1 << 20);
  } catch {
    return undefined;
  }
  let last: string | undefined;
  for (const line of text.split("\n")) {
    if (line === "") continue;
    try {
      const entry: unknown = JSON.parse(line);
      if (typeof entry !== "object" || entry === null) continue;
      const { level, msg } = entry as { level?: unknown; msg?: unknown };
      if ((level === "error" || level === "fatal") && typeof msg === "string") last = msg.trim();
    } catch {
      // A line that a killed runc left half-written says nothing.
    }
  }
  return last;
}

/**
 * The message in the last line that a runc without a log file printed: runc prints logrus text, crun the bare message.
 * Undefined when nothing was printed.
 */
export function lastPrinted(text: string): string | undefined {
  const line = text.trimEnd().split("\n").at(-1)?.trim();
  if (line === undefined || line === "") return undefined;
  const quoted = /^time="[^"]*" level=\w+ msg=("(?:[^"\\]|\\.)*")/.exec(line)?.[1];
  return (quoted === undefined ? line : unquote(quoted)).slice(0, 1000);
}

/** Reads a string that Go has quoted; what JSON does not know stays as it is. */
function unquote(text: string): string {
  try {
    return JSON.parse(text) as string;
  } catch {
    return text.slice(1, -1);
  }
}

/**
 * The error a client gets for a failed runc command. The wording of runc is kept behind the prefix, because dockerd
 * reads "executable file not found" and "permission denied" in it.
 * @param prefix such as "OCI runtime create failed"
 */
export function runtimeError(error: unknown, prefix: string): ContainerdError {
  if (!(error instanceof RuncError)) return unknown(`${prefix}: ${messageOf(error)}`, error);
  if (error.kind === "timeout") return deadlineExceeded(`${prefix}: ${error.message}`);
  return unknown(`${prefix}: ${error.kind === "failed" ? error.said : error.message}`, error);
}

/** How runc (the first half) and crun say that there is nothing to kill or to delete (T-KIL-1, T-DEL-3). */
const goneSamples = [
  /process already finished/,
  /container (is )?not running/,
  /container .*does not exist/,
  /no such process/i,
  /container `[^`]*` is not running/,
  // crun's state directory of the container is gone.
  /error opening file `[^`]*\/status`: No such file or directory/,
  /cannot open directory '[^']*': No such file or directory/,
];

/** True when runc says that the container or process is not there. */
export function saysGone(error: unknown): boolean {
  return error instanceof RuncError && error.kind === "failed" && goneSamples.some((sample) => sample.test(error.said));
}

/** The error of a failed kill: NotFound when there was nothing to kill, else unknown. */
export function killError(error: unknown, id: string): ContainerdError {
  if (saysGone(error)) return notFound(`container ${id}: process already finished`);
  return runtimeError(error, "OCI runtime kill failed");
}

/** True when runc says that a container with this id is there already: then it is not ours to clean up. */
export function saysExists(error: unknown): boolean {
  return error instanceof RuncError && error.kind === "failed" && /already exists/i.test(error.said);
}
