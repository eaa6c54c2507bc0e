/** Digests as names of files. What a digest is, store/digest.ts says. */

import { digestProblem } from "../store/digest.ts";

/** True for a digest that may name a file. */
export function isDigest(text: string): boolean {
  return digestProblem(text) === undefined;
}

/** The two parts of a digest for which {@link isDigest} holds. */
export function splitDigest(digest: string): { algorithm: string; hex: string } {
  const colon = digest.indexOf(":");
  return { algorithm: digest.slice(0, colon), hex: digest.slice(colon + 1) };
}
