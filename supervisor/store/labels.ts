/** Labels, as every kind of resource has them. */

import { invalidArgument } from "../../proto/errdefs.ts";

export type Labels = Readonly<Record<string, string>>;

/** Longest key and value together, in bytes (pkg/labels/validate.go). */
const MAX_SIZE = 4096;
/** Of a key that makes a label too long, this much is told. */
const MAX_TOLD = 64;

/**
 * @param before put in front of the message, such as "image.Labels: "
 * @throws ContainerdError InvalidArgument for a label that is too long
 */
export function checkLabels(labels: Labels, before = ""): void {
  for (const [key, value] of Object.entries(labels)) {
    const size = Buffer.byteLength(key) + Buffer.byteLength(value);
    if (size <= MAX_SIZE) continue;
    const told = key.length > MAX_TOLD ? key.slice(0, MAX_TOLD) : key;
    throw invalidArgument(
      `${before}label key and value length (${size} bytes) greater than maximum size (${MAX_SIZE} bytes), key: ${told}: invalid argument`,
    );
  }
}

/** Labels as the database has them; those with an empty value are left out, as containerd does. */
export function encodeLabels(labels: Labels): string {
  return JSON.stringify(Object.fromEntries(Object.entries(labels).filter(([, value]) => value !== "")));
}

/** Labels from the database. */
export function decodeLabels(text: string): Record<string, string> {
  return JSON.parse(text) as Record<string, string>;
}
