/** Updates of a record by field paths: which parts of it the new one replaces. */

import type { google } from "../../proto/gen/supervisor.js";

type Any = google.protobuf.Any.$Properties;

/** What containers and sandboxes both have that may change. */
export interface Description {
  readonly labels: Record<string, string>;
  readonly extensions: Record<string, Any>;
  readonly spec: Any | null;
}

/** What replaces parts of `old`, when `path` names one of a description; undefined when it names something else. */
export function describedBy(path: string, old: Description, given: Description): Partial<Description> | undefined {
  const label = entryOf(path, "labels.");
  if (label !== undefined) return { labels: withEntry(old.labels, label, given.labels, "") };
  const extension = entryOf(path, "extensions.");
  if (extension !== undefined) return { extensions: withEntry(old.extensions, extension, given.extensions, {}) };
  if (path === "labels") return { labels: given.labels };
  if (path === "extensions") return { extensions: given.extensions };
  return path === "spec" ? { spec: given.spec } : undefined;
}

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
