/** `-info` (contract 1.4): what this runtime is and can do, as protobuf on stdout. */

import { containerd, google } from "../../proto/gen/shim.js";
import { type Any, jsonTypes, packAny } from "../../proto/typeurl.ts";
import { parseOptions } from "../container/options.ts";
import { findProgram } from "../linux/program.ts";
import { name, version } from "../version.ts";

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

/** stdin is empty, options in an Any, or a RuntimeRequest that holds them. */
function readOptions(input: Uint8Array): Any | undefined {
  if (input.length === 0) return undefined;
  const request = containerd.types.RuntimeRequest.decode(input);
  if (request.options !== null && request.options !== undefined) return request.options;
  const any = google.protobuf.Any.decode(input);
  return any.type_url === "" ? undefined : any;
}

/** `runc features` as it is; undefined when runc is missing or too old to know (IN-3). */
async function runcFeatures(binary: string): Promise<Uint8Array | undefined> {
  const program = findProgram(binary);
  if (program === undefined) return undefined;
  const child = Bun.spawn([program, "features"], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
    timeout: 4_000,
    killSignal: "SIGKILL",
  });
  const output = await child.stdout.bytes();
  return (await child.exited) === 0 && output.length > 0 ? output : undefined;
}
