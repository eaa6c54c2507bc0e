/** One text for one meaning: JSON with its keys in order, and the hash of it. Pure. */

/** JSON with sorted keys; what is undefined is left out. */
export function canonical(value: unknown): string {
  return JSON.stringify(sorted(value)) ?? "null";
}

/** SHA-256 of {@link canonical}, in hex. */
export function hashOf(value: unknown): string {
  return new Bun.CryptoHasher("sha256").update(canonical(value)).digest("hex");
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value as Record<string, unknown>).filter(([, each]) => each !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  // Without a prototype: `__proto__` is a key like any other.
  const result: Record<string, unknown> = Object.create(null);
  for (const [key, each] of entries) result[key] = sorted(each);
  return result;
}
