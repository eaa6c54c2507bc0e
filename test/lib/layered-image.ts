/** OCI archives of images whose layers are given. */

import { createHash } from "node:crypto";
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { gzipSync, zstdCompressSync } from "bun";
import { entry } from "./archive.ts";

/** How the layers of an image are stored. */
export type Compression = "gzip" | "zstd" | "none";

const suffix = { gzip: "+gzip", zstd: "+zstd", none: "" } as const;

function compress(kind: Compression, bytes: Uint8Array<ArrayBuffer>): Uint8Array {
  if (kind === "gzip") return gzipSync(bytes, { level: 6 });
  return kind === "zstd" ? zstdCompressSync(bytes) : bytes;
}

function digestOf(body: Uint8Array): string {
  return `sha256:${createHash("sha256").update(body).digest("hex")}`;
}

/**
 * Writes an image to `path`; equal layers give equal bytes.
 * @param layers the lowest first, uncompressed; one at a time is held in memory
 */
export function writeImageOf(
  path: string,
  name: string,
  layers: Iterable<Uint8Array>,
  compression: Compression = "gzip",
): void {
  const file = openSync(path, "w");
  const add = (mediaType: string, body: Uint8Array) => {
    const digest = digestOf(body);
    writeSync(file, entry({ name: `blobs/sha256/${digest.slice(7)}`, size: body.length }));
    for (let at = 0; at < body.length; ) at += writeSync(file, body, at);
    writeSync(file, Buffer.alloc((512 - (body.length % 512)) % 512));
    return { mediaType, digest, size: body.length };
  };
  const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
  try {
    writeSync(file, entry({ name: "oci-layout", body: json({ imageLayoutVersion: "1.0.0" }) }));
    const blobs: ReturnType<typeof add>[] = [];
    const diffIds: string[] = [];
    const layerType = `application/vnd.oci.image.layer.v1.tar${suffix[compression]}`;
    for (const tar of layers) {
      diffIds.push(digestOf(tar));
      blobs.push(add(layerType, compress(compression, new Uint8Array(tar))));
    }
    const architecture = { x64: "amd64", arm64: "arm64" }[process.arch as string] ?? process.arch;
    const platform = { architecture, os: "linux" };
    const rootfs = { type: "layers", diff_ids: diffIds };
    const config = add(
      "application/vnd.oci.image.config.v1+json",
      json({ ...platform, created: "1970-01-01T00:00:00Z", config: { Cmd: ["/none"] }, rootfs }),
    );
    const mediaType = "application/vnd.oci.image.manifest.v1+json";
    const manifest = add(mediaType, json({ schemaVersion: 2, mediaType, config, layers: blobs }));
    const annotations = { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": "latest" };
    const index = {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [{ ...manifest, platform, annotations }],
    };
    writeSync(file, entry({ name: "index.json", body: json(index) }));
    writeSync(file, Buffer.alloc(1024));
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}
