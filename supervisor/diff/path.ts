/** Names of entries as paths below the root of a layer. */

import type { Bytes } from "../../shim/linux/index.ts";

/**
 * The path without ".", "..", doubled and outer slashes; "" is the root. What would lead above the root stays at it, so
 * that nothing leaves it, as containerd does it.
 */
export function cleanPath(name: Bytes): Bytes {
  if (isClean(name)) return name;
  const parts: Bytes[] = [];
  for (const part of name.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
}

const unclean = /^[/]|\/\/|\/$|(?:^|\/)\.\.?(?:\/|$)/;

function isClean(name: Bytes): boolean {
  return !unclean.test(name);
}

/** The directory that a clean path is in; "" is the root. */
export function parentOf(path: Bytes): Bytes {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

/** The last part of a clean path. */
export function baseOf(path: Bytes): Bytes {
  return path.slice(path.lastIndexOf("/") + 1);
}
