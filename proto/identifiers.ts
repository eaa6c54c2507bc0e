/** Identifiers as containerd validates them (pkg/identifiers/validate.go): safe as a part of a path. */

import { invalidArgument } from "./errdefs.ts";

const pattern = /^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/;
const maxLength = 76;

/** True for an identifier that may become a part of a path. */
export function isIdentifier(text: string): boolean {
  return text.length <= maxLength && pattern.test(text);
}

/**
 * @param what names the thing in the message: "container id", "exec id", "namespace"
 * @throws ContainerdError InvalidArgument
 */
export function checkIdentifier(text: string, what: string): void {
  if (text === "") throw invalidArgument(`${what} is empty: it must match ${pattern.source}`);
  if (text.length > maxLength) throw invalidArgument(`${what} has ${text.length} characters, ${maxLength} are allowed`);
  if (!pattern.test(text)) throw invalidArgument(`${what} ${JSON.stringify(text)} must match ${pattern.source}`);
}
