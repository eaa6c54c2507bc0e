/** Parts of a request that must be there. */

import { invalidArgument } from "../../proto/errdefs.ts";

/**
 * A message field of a request, which is null when it was not sent.
 * @throws ContainerdError InvalidArgument, with the name of the field
 */
export function required<T>(message: T | null | undefined, name: string): T {
  if (message === null || message === undefined) throw invalidArgument(`${name} must be set: invalid argument`);
  return message;
}
