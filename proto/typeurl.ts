/**
 * google.protobuf.Any as containerd writes it: the type URL is the bare message name, without a host part.
 * Upstream: typeurl/v2/types.go.
 */

import type { google } from "./gen/shim.js";

/** An Any as it stands on the wire; both fields may be absent. */
export type Any = google.protobuf.Any.$Properties;

/** Type URLs of values whose body is JSON, not protobuf. */
export const jsonTypes = {
  process: "types.containerd.io/opencontainers/runtime-spec/1/Process",
  linuxResources: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
  features: "types.containerd.io/opencontainers/runtime-spec/1/features/Features",
} as const;

/** The message name in a type URL: what follows the last slash of a `type.googleapis.com/` form, else the whole. */
export function typeName(any: Any): string {
  const url = any.type_url ?? "";
  const host = "type.googleapis.com/";
  return url.startsWith(host) ? url.slice(host.length) : url;
}

/** Wraps an encoded message; the URL is the bare name. */
export function packAny(name: string, value: Uint8Array): { type_url: string; value: Uint8Array } {
  return { type_url: name, value };
}
