/** How a layer is compressed: what its media type says and what its first bytes show. */

/** Ways of compression. */
export type Compression = "none" | "gzip" | "zstd";

/** Media type of a layer that is not compressed, which applying one answers with. */
export const LAYER_TAR = "application/vnd.oci.image.layer.v1.tar";

const docker = new Set([
  "application/vnd.docker.image.rootfs.diff.tar",
  "application/vnd.docker.image.rootfs.diff.tar.gzip",
  "application/vnd.docker.image.rootfs.diff.tar.zstd",
  "application/vnd.docker.image.rootfs.foreign.diff.tar",
  "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
]);
const oci = new Set([LAYER_TAR, "application/vnd.oci.image.layer.nondistributable.v1.tar"]);

/**
 * What a layer of this media type may be: compressed in a way that its first bytes tell ("detect"; the name of the way
 * is not believed), or surely not ("none"). The types are those of containerd (core/images/mediatypes.go).
 * @returns undefined when this is no layer that can be read here
 */
export function compressionOf(mediaType: string): "detect" | "none" | undefined {
  if (docker.has(mediaType)) return "detect";
  const [base = "", suffix, ...more] = mediaType.split("+");
  if (!oci.has(base) || more.length > 0) return undefined;
  if (suffix === undefined) return "none";
  return suffix === "gzip" || suffix === "zstd" ? "detect" : undefined;
}

/** The way that the first bytes of a stream show. */
export function detectCompression(head: Uint8Array): Compression {
  const [a, b, c, d] = head;
  if (a === 0x1f && b === 0x8b && c === 0x08) return "gzip";
  if (a === 0x28 && b === 0xb5 && c === 0x2f && d === 0xfd) return "zstd";
  // A skippable frame of zstd: 0x184D2A50 to 0x184D2A5F, little endian.
  if (a !== undefined && (a & 0xf0) === 0x50 && b === 0x2a && c === 0x4d && d === 0x18) return "zstd";
  return "none";
}
