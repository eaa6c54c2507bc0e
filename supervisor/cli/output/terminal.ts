/** What the output goes to: a terminal of some width, or a file or a pipe. */

import { writeSync } from "node:fs";
import pc from "picocolors";

const SIGPIPE = 13;

type Colors = ReturnType<typeof pc.createColors>;

/** A stream that may be a terminal. */
export interface Sink {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
}

/** True when somebody looks at it. */
export function isTerminal(sink: Sink = process.stdout): boolean {
  return sink.isTTY === true;
}

/** Columns of the terminal; undefined where there is none, and lines may be as long as they are. */
export function widthOf(sink: Sink = process.stdout): number | undefined {
  if (!isTerminal(sink)) return undefined;
  return sink.columns !== undefined && sink.columns > 0 ? sink.columns : 80;
}

/** True when text may be coloured: on a terminal that knows colours, unless the user does not want any (no-color.org). */
export function hasColors(
  sink: Sink = process.stdout,
  env: Readonly<Record<string, string | undefined>> = process.env,
): boolean {
  return isTerminal(sink) && !env["NO_COLOR"] && env["TERM"] !== "dumb";
}

/** Functions that colour text, or leave it as it is. */
export function colorsFor(sink: Sink = process.stdout): Colors {
  return pc.createColors(hasColors(sink));
}

/**
 * Writes to standard output. When the reader has gone, as `head` does, the process ends as one killed by SIGPIPE would.
 */
export async function print(text: string | Uint8Array): Promise<void> {
  // Bun takes writing nothing for making the file empty, which may have others' lines in it.
  if (text.length === 0) return;
  try {
    await Bun.write(Bun.stdout, text);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EPIPE") process.exit(128 + SIGPIPE);
    throw error;
  }
}

/**
 * Writes to standard error what is no result, and returns when it is written: nothing of it is lost when the process
 * ends, and it stays in order with what the libraries write there.
 */
export function note(text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(2, bytes, at);
    } catch (error) {
      // The reader of a pipe that does not block is slow; whatever else it is, there is nobody to tell it to.
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
      Bun.sleepSync(5);
    }
  }
}
