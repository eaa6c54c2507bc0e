/** 64-bit fields as protobufjs hands them over. */

/** A number, or its two halves. */
export type Wide = number | { readonly low: number; readonly high: number } | null | undefined;

/** The number; 0 for a field that is not there. */
export function wide(value: Wide): number {
  if (typeof value === "number") return value;
  return value ? value.high * 2 ** 32 + (value.low >>> 0) : 0;
}
