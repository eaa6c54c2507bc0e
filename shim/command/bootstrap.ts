/**
 * The two dialects of `start` (ST-1 to ST-4): what containerd puts on stdin, and what it reads from stdout. They are
 * told apart by content alone, because nothing else tells: both are protobuf.
 */

import { containerd, google } from "../../proto/gen/shim.js";
import type { Any } from "../../proto/typeurl.ts";
import type { Level } from "../log.ts";

const { BootstrapParams, BootstrapResult } = containerd.runtime.bootstrap.v1;

/** Input larger than this is refused, as containerd's own shim does (ST-3). */
export const MAX_INPUT_BYTES = 10 << 20;

/** What stdin said. */
export interface Bootstrap {
  /** True for containerd 2.3 and later, which wants a BootstrapResult back. */
  readonly modern: boolean;
  /** Runtime options, if there are any. */
  readonly options: Any | undefined;
  /** Where sockets go, when containerd says so. */
  readonly socketDirectory: string | undefined;
  readonly level: Level | undefined;
  /** containerd's addresses, when they came this way and not by flags and environment. */
  readonly ttrpcAddress: string | undefined;
  readonly grpcAddress: string | undefined;
}

const nothing: Bootstrap = {
  modern: false,
  options: undefined,
  socketDirectory: undefined,
  level: undefined,
  ttrpcAddress: undefined,
  grpcAddress: undefined,
};

/**
 * Reads stdin of `start`.
 * @throws Error when it is neither dialect
 */
export function parseBootstrap(input: Uint8Array, id: string, namespace: string): Bootstrap {
  if (input.length === 0) return nothing;
  const params = attempt(() => BootstrapParams.decode(input));
  if (params?.instanceId === id && params.namespace === namespace) {
    return {
      modern: true,
      options: params.extensions.map((extension) => extension.value).find(isOptions) ?? undefined,
      socketDirectory: params.socketDir || undefined,
      level: levelOf(params.logLevel),
      ttrpcAddress: params.containerdTtrpcAddress || undefined,
      grpcAddress: params.containerdGrpcAddress || undefined,
    };
  }
  const any = attempt(() => google.protobuf.Any.decode(input));
  if (any !== undefined && any.type_url !== "") return { ...nothing, options: any };
  throw new Error("stdin of start is neither BootstrapParams for this id and namespace nor runtime options");
}

/** The answer on stdout: the plain address is taken by every containerd from 1.6 to 2.4 (ST-4). */
export function bootstrapAnswer(modern: boolean, address: string): Uint8Array {
  if (!modern) return new TextEncoder().encode(address);
  return BootstrapResult.encode({ version: 2, address, protocol: "ttrpc" }).finish();
}

function isOptions(any: Any | null | undefined): boolean {
  return any !== null && any !== undefined && (any.type_url ?? "").endsWith(".Options");
}

/** Levels are an open enumeration (ST-2): what lies between two of ours counts as the more talkative. */
function levelOf(level: number): Level {
  if (level < 0) return "debug";
  if (level < 4) return "info";
  return level < 8 ? "warn" : "error";
}

/** What `decode` returns; undefined when it throws. */
export function attempt<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}
