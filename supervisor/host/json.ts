/** State of the daemon as JSON. */

/** Like JSON.stringify, and maps as objects, sets as lists, big numbers as texts, bytes as base64. */
export function toJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, plain, indent) ?? "null";
}

function plain(this: unknown, _: string, value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries(value);
  if (value instanceof Set) return [...value];
  if (value instanceof Error) return value.message;
  if (typeof value === "bigint") return String(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  return value;
}
