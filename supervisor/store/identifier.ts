/** Identifiers that clients give, refused in containerd's words (pkg/identifiers/validate.go). */

import { invalidArgument } from "../../proto/errdefs.ts";
import { quote } from "./quote.ts";

const MAX_LENGTH = 76;
const pattern = /^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$/;

/**
 * @param before put in front of the message, such as "container.ID: "
 * @throws ContainerdError InvalidArgument for what is no identifier, and so may not become a part of a path
 */
export function validateIdentifier(text: string, before = ""): void {
  if (text === "") throw invalidArgument(`${before}identifier must not be empty: invalid argument`);
  if (text.length > MAX_LENGTH) {
    throw invalidArgument(
      `${before}identifier ${quote(text)} greater than maximum length (${MAX_LENGTH} characters): invalid argument`,
    );
  }
  if (!pattern.test(text)) {
    throw invalidArgument(`${before}identifier ${quote(text)} must match ${pattern.source}: invalid argument`);
  }
}
