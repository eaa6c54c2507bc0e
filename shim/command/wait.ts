/**
 * `wait`: a serving process that is started before there is a bundle to serve, so that a Create need not wait for a
 * program to load. Private to berth's daemon. It loads all that it will need, and sleeps in a read of stdin. What comes is
 * one line of JSON, {@link Turn}, then what `start` would have on its stdin, then the end; an end alone means that nobody
 * needs it, or that the daemon is gone.
 */

import { messageOf } from "../../proto/errdefs.ts";
import { readAll } from "../linux/file.ts";
import { setCommandLine } from "../linux/process.ts";
import { log } from "../log.ts";
import { MAX_INPUT_BYTES } from "./bootstrap.ts";
import { parseFlags } from "./flags.ts";

/** What a waiting process is told. */
interface Turn {
  /** The bundle. */
  readonly directory: string;
  /** The flags of the binary call. */
  readonly args: readonly string[];
}

const MAX_TURN_BYTES = 64 << 10;
const NEWLINE = 10;

/** @returns 0 when it was not needed; else -1, and it serves @throws Error as `serve` does */
export async function wait(): Promise<number> {
  const [{ serve }] = await Promise.all([import("./serve.ts"), import("./run.ts")]);
  const input = readAll(0, MAX_INPUT_BYTES + MAX_TURN_BYTES);
  if (input.length === 0) return 0;
  const end = input.indexOf(NEWLINE);
  const { directory, args } = JSON.parse(new TextDecoder().decode(input.subarray(0, end))) as Turn;
  process.chdir(directory);
  try {
    setCommandLine([process.argv0, ...args, "serve"]);
  } catch (error) {
    log.debug(`command line: ${messageOf(error)}`);
  }
  await serve(parseFlags([...args, "serve"]), input.subarray(end + 1));
  return -1;
}
