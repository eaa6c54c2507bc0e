/** Digests as clients write them (opencontainers/go-digest). */

/** Algorithms that are known, with the length of their value in hexadecimal. */
const lengths: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 };
const pattern = /^[A-Za-z0-9]+(?:[.+_-][A-Za-z0-9]+)*:[a-zA-Z0-9=_-]+$/;

/** What is wrong with a digest, in the words that clients know; undefined for a right one. */
export function digestProblem(digest: string): string | undefined {
  const colon = digest.indexOf(":");
  if (colon <= 0 || colon + 1 === digest.length) return "invalid checksum digest format";
  const length = lengths[digest.slice(0, colon)];
  const value = digest.slice(colon + 1);
  if (length === undefined || !Object.hasOwn(lengths, digest.slice(0, colon))) {
    return pattern.test(digest) ? "unsupported digest algorithm" : "invalid checksum digest format";
  }
  if (Buffer.byteLength(value) !== length) return "invalid checksum digest length";
  return /^[a-f0-9]+$/.test(value) ? undefined : "invalid checksum digest format";
}
