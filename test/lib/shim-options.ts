/** Runtime options of a request, as a client packs them (contract 1.13). */

import { containerd, runtimeoptions } from "../../proto/gen/shim.js";

/** An Any as the Tasks service of the tests takes it. */
export interface PackedOptions {
  typeUrl: string;
  value: Uint8Array;
}

/** runc's own options. */
export function runcOptions(options: containerd.runc.v1.Options.$Properties): PackedOptions {
  return { typeUrl: "containerd.runc.v1.Options", value: containerd.runc.v1.Options.encode(options).finish() };
}

/** The generic options that every other runtime type gets, with a TOML table (OPT-2). */
export function tomlOptions(table: string): PackedOptions {
  const body = { configBody: new TextEncoder().encode(table) };
  return { typeUrl: "runtimeoptions.v1.Options", value: runtimeoptions.v1.Options.encode(body).finish() };
}
