/** The end of a process that worked on a layer: its answer. */

import { Code } from "../../proto/ttrpc/status.ts";
import { ErrnoError, isErrno, MountError } from "../../shim/linux/index.ts";
import { PatchError } from "../delta/patch/error.ts";
import { CompressionError } from "./inflate.ts";
import { LimitError } from "./limits.ts";
import type { Answer } from "./request.ts";
import { ArchiveError } from "./tar/entry.ts";

/** Runs `work` and answers, on standard output unless told, with what it gives or throws. @returns the exit status */
export async function answer<R>(work: () => R, where: Bun.BunFile = Bun.stdout): Promise<number> {
  let said: Answer<R>;
  try {
    said = { result: work() };
  } catch (error) {
    said = { error: { code: codeOf(error), message: error instanceof Error ? error.message : String(error) } };
  }
  await Bun.write(where, JSON.stringify(said));
  return 0;
}

function codeOf(error: unknown): Code {
  if (error instanceof ArchiveError || error instanceof CompressionError || error instanceof PatchError)
    return Code.InvalidArgument;
  if (error instanceof LimitError) return Code.ResourceExhausted;
  if (error instanceof MountError) return error.invalid ? Code.InvalidArgument : Code.Unknown;
  if (error instanceof ErrnoError && isErrno(error, "ENOSPC", "EDQUOT")) return Code.ResourceExhausted;
  return Code.Unknown;
}
