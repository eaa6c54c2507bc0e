/** Updates of a record by field paths: which parts of it the new one replaces. */

/** The replacement of one entry of a map: the rest of `path` after `prefix`, such as `labels.` */
export function entryOf(path: string, prefix: string): string | undefined {
  return path.startsWith(prefix) ? path.slice(prefix.length) : undefined;
}

/** A copy of `map` in which `key` has the value that it has in `source`; `empty` stands for none. */
export function withEntry<T>(
  map: Readonly<Record<string, T>> | null | undefined,
  key: string,
  source: Readonly<Record<string, T>> | null | undefined,
  empty: T,
): Record<string, T> {
  const value = source && Object.hasOwn(source, key) ? (source[key] ?? empty) : empty;
  return { ...map, [key]: value };
}

/** The entries that are kept: containerd does not keep those with an empty value. */
export function withoutEmpty(map: Readonly<Record<string, string>> | null | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(map ?? {}).filter(([, value]) => value !== ""));
}
