/** A patch that is not what it says. */
export class PatchError extends Error {
  override readonly name = "PatchError";
}
