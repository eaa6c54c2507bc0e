/** `-info` (contract 1.4): what this runtime is and can do, as protobuf on stdout. */

import { containerd, google } from "../../proto/gen/shim.js";
import { type Any, jsonTypes, packAny } from "../../proto/typeurl.ts";
import { parseOptions } from "../container/options.ts";
import { findProgram } from "../linux/program.ts";
import { name, version } from "../version.ts";
import { attempt } from "./bootstrap.ts";
import { runBriefly } from "./brief.ts";

/** containerd waits for `-info` as for other binary calls, 5 s (INV-7). */
const RUNC_LIMIT = 4_000;

/** Answers with the runtime's name, its version and what runc says of itself. @throws Error for unknown options */
export async function info(): Promise<number> {
  const options = readOptions(await Bun.stdin.bytes());
  const features = await runcFeatures(parseOptions(options).binaryName || "runc");
  const response = containerd.types.RuntimeInfo.encode({
    name,
    version: { version },
    ...(options === undefined ? {} : { options }),
    ...(features === undefined ? {} : { features: packAny(jsonTypes.features, features) }),
  }).finish();
  await Bun.write(Bun.stdout, response);
  return 0;
}

/**
 * stdin is empty, options in an Any (IN-1), or a RuntimeRequest that holds them. Both begin with a text, and only the
 * Any's names a type of options.
 * @throws Error when it is none of them
 */
function readOptions(input: Uint8Array): Any | undefined {
  if (input.length === 0) return undefined;
  const any = attempt(() => google.protobuf.Any.decode(input));
  if (any?.type_url.endsWith("Options") === true) return any;
  const request = attempt(() => containerd.types.RuntimeRequest.decode(input));
  if (request !== undefined) return request.options ?? undefined;
  throw new Error("stdin of -info is neither runtime options nor a RuntimeRequest");
}

/** `runc features` as it is; undefined when runc is missing, too old to know, or does not end (IN-3). */
async function runcFeatures(binary: string): Promise<Uint8Array | undefined> {
  const program = findProgram(binary);
  if (program === undefined) return undefined;
  const { status, output } = await runBriefly([program, "features"], "stdout", RUNC_LIMIT);
  return status === 0 && output.length > 0 ? output : undefined;
}
