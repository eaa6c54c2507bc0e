/** Runtime options of a request, as a client packs them (contract 1.13). */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { containerd } from "../../proto/gen/shim.js";
import { processScope } from "./scope.ts";

/** An Any as the Tasks service of the tests takes it. */
export interface PackedOptions {
  typeUrl: string;
  value: Uint8Array;
}

/** runc's own options. */
export function runcOptions(options: containerd.runc.v1.Options.$Properties): PackedOptions {
  return { typeUrl: "containerd.runc.v1.Options", value: containerd.runc.v1.Options.encode(options).finish() };
}

let files = 0;

/**
 * Flags of ctr that give a container the generic options that every other runtime type gets (OPT-2): a TOML table in a
 * file. containerd 2 takes them of a container alone, and refuses them in the request for a task.
 */
export function tomlFlags(table: string): string[] {
  const path = join(processScope().dir, `options${++files}.toml`);
  writeFileSync(path, table);
  return ["--runtime-config-path", path];
}
