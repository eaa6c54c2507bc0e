/** Options of runtimes, as far as the daemon looks into them. */

import { unknown } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import { typeName } from "../../proto/typeurl.ts";
import type { Any } from "./launch.ts";

const runc = containerd.runc.v1;
/** The runtime whose options must be runc's. */
const RUNC = "io.containerd.runc.v2";
/** Types of options that containerd knows; it refuses others before it looks at them. */
const known = ["containerd.runc.v1.Options", "containerd.runc.v1.CheckpointOptions", "runtimeoptions.v1.Options"];

type Options = ReturnType<typeof runc.Options.decode>;

/**
 * runc's options of a Create; undefined for those of another runtime.
 * @throws ContainerdError Unknown in containerd's words
 */
export function createOptions(runtime: string, options: Any | undefined): Options | undefined {
  if (options === undefined) return undefined;
  if (typeName(options) === "containerd.runc.v1.Options") return decode(runc.Options, options);
  if (runtime !== RUNC) return undefined;
  throw wrong("create", runtime, options);
}

/**
 * Options of a Checkpoint; undefined when there are none.
 * @throws ContainerdError Unknown in containerd's words
 */
export function checkpointOptions(
  runtime: string,
  options: Any | undefined,
): ReturnType<typeof runc.CheckpointOptions.decode> | undefined {
  if (options === undefined) return undefined;
  if (typeName(options) === "containerd.runc.v1.CheckpointOptions") return decode(runc.CheckpointOptions, options);
  throw wrong("checkpoint", runtime, options);
}

function decode<T>(type: { decode(bytes: Uint8Array): T }, options: Any): T {
  try {
    return type.decode(options.value ?? new Uint8Array(0));
  } catch (error) {
    throw unknown("proto: cannot parse invalid wire-format data", error);
  }
}

function wrong(verb: string, runtime: string, options: Any): Error {
  const name = typeName(options);
  return unknown(
    known.includes(name) ? `invalid task ${verb} option for ${runtime}` : `type with url ${name}: not found`,
  );
}
