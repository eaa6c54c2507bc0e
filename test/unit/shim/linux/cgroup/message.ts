/** Metrics messages as plain values that can be compared. */

import { io as v1 } from "../../../../../proto/gen/cgroups1.js";
import { io as v2 } from "../../../../../proto/gen/cgroups2.js";
import type { Any } from "../../../../../proto/typeurl.ts";

/** The message without fields of their default value, which the wire need not hold, and its 64-bit values exact. */
export function plain(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(plain);
  }
  if (typeof value === "object" && value !== null) {
    const { low, high } = value as { low?: number; high?: number };
    if (low !== undefined && high !== undefined) {
      const exact = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
      return exact <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(exact) : exact;
    }
    const isDefault = (inner: unknown) => inner === 0 || inner === "" || (Array.isArray(inner) && inner.length === 0);
    const entries = Object.entries(value).map(([key, inner]) => [key, plain(inner)] as const);
    return Object.fromEntries(entries.filter(([, inner]) => !isDefault(inner)));
  }
  return value;
}

/** Decodes a Stats answer of either version. @throws Error for another type URL */
export function decodeMetrics(any: Any): Record<string, unknown> {
  const value = any.value ?? new Uint8Array();
  switch (any.type_url) {
    case "io.containerd.cgroups.v1.Metrics":
      return plain(v1.containerd.cgroups.v1.Metrics.decode(value)) as Record<string, unknown>;
    case "io.containerd.cgroups.v2.Metrics":
      return plain(v2.containerd.cgroups.v2.Metrics.decode(value)) as Record<string, unknown>;
    default:
      throw new Error(`not a metrics message: ${any.type_url}`);
  }
}

/** The leaves of a decoded message by their path, such as "memory.usage.limit" or "cpu.usage.perCpu.0". */
export function leaves(value: unknown, path = ""): Map<string, string | number | bigint> {
  if (typeof value !== "object" || value === null) {
    return new Map([[path, value as string | number | bigint]]);
  }
  return new Map(
    Object.entries(value).flatMap(([key, inner]) => [...leaves(inner, path === "" ? key : `${path}.${key}`)]),
  );
}
