/** The process of a check: that of the container, with another command. */

import { messageOf } from "../../proto/errdefs.ts";
import { type Any, jsonTypes } from "../../proto/typeurl.ts";

/**
 * The process for an Exec: environment, user, directory and rights are the container's own.
 * @param spec JSON of the container's runtime specification
 * @throws Error for a specification without a process
 */
export function processOf(spec: Uint8Array | undefined, args: readonly string[]): Any {
  let own: unknown;
  try {
    own = (JSON.parse(new TextDecoder().decode(spec)) as { process?: unknown }).process;
  } catch (error) {
    throw new Error(`the container's specification cannot be read: ${messageOf(error)}`);
  }
  if (typeof own !== "object" || own === null) throw new Error("the container's specification has no process");
  const { consoleSize: _size, commandLine: _line, ...rest } = own as Record<string, unknown>;
  const value = new TextEncoder().encode(JSON.stringify({ ...rest, args, terminal: false }));
  return { type_url: jsonTypes.process, value };
}
