/** Small images in versions, for tests of deltas: as archives, and in a registry. */

import { writeFileSync } from "node:fs";
import { archive, entry } from "./archive.ts";
import type { FakeRegistry } from "./fake-registry.ts";
import { tar } from "./image.ts";
import { Random } from "./random.ts";

const layerType = "application/vnd.oci.image.layer.v1.tar+gzip";
const configType = "application/vnd.oci.image.config.v1+json";
const manifestType = "application/vnd.oci.image.manifest.v1+json";

/** How layers are compressed: by the program that tests run on, or by one that it cannot imitate. */
export type Compressor = "own" | "foreign";

/** A blob with its bytes. */
export interface VersionBlob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly body: Buffer;
}

/** One version of an image. */
export interface Version {
  readonly manifest: VersionBlob;
  readonly config: VersionBlob;
  readonly layers: readonly VersionBlob[];
}

/** Bytes that do not compress, always the same. */
const noise = new Random(29).bytes(1_500_000);

function blobOf(mediaType: string, body: Buffer): VersionBlob {
  const digest = `sha256:${new Bun.CryptoHasher("sha256").update(body).digest("hex")}`;
  return { mediaType, digest, size: body.length, body };
}

function compressed(bytes: Buffer, how: Compressor): Buffer {
  if (how === "own") return Buffer.from(Bun.gzipSync(new Uint8Array(bytes), { level: 6 }));
  return Buffer.from(Bun.spawnSync(["gzip", "-nc"], { stdin: bytes }).stdout);
}

/** An image of two layers: one that all versions have, and one with some bytes of each version's own. */
export function makeVersion(version: number, how: Compressor = "own"): Version {
  const changed = Buffer.from(noise);
  changed.write(`this is version ${version} of it, and nothing else`, 500_000 + 64 * version);
  const tars = [
    archive(entry({ name: "base", body: noise.subarray(0, 300_000), mode: 0o644 })),
    archive(
      entry({ name: "large", body: changed, mode: 0o644 }),
      entry({ name: "version", body: `${version}\n`, mode: 0o644, mtime: version }),
    ),
  ];
  const architecture = { x64: "amd64", arm64: "arm64" }[process.arch as string] ?? process.arch;
  const layers = tars.map((bytes) => blobOf(layerType, compressed(bytes, how)));
  const rootfs = { type: "layers", diff_ids: tars.map((bytes) => blobOf("", bytes).digest) };
  const config = blobOf(configType, Buffer.from(JSON.stringify({ os: "linux", architecture, config: {}, rootfs })));
  const [described, ...rest] = [config, ...layers].map(({ mediaType, digest, size }) => ({ mediaType, digest, size }));
  const manifest = { schemaVersion: 2, mediaType: manifestType, config: described, layers: rest };
  return { manifest: blobOf(manifestType, Buffer.from(JSON.stringify(manifest))), config, layers };
}

/** Writes a version as an OCI archive. @returns the path */
export function writeVersion(path: string, name: string, { manifest, config, layers }: Version): string {
  const { mediaType, digest, size } = manifest;
  const annotations = { "io.containerd.image.name": name };
  const index = { schemaVersion: 2, manifests: [{ mediaType, digest, size, annotations }] };
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
  const blobs = [manifest, config, ...layers].map(({ digest: named, body }) => ({
    name: `blobs/sha256/${named.slice("sha256:".length)}`,
    ...{ mode: 0o644, body },
  }));
  const layout = { name: "oci-layout", mode: 0o644, body: json({ imageLayoutVersion: "1.0.0" }) };
  writeFileSync(path, tar([layout, ...blobs, { name: "index.json", mode: 0o644, body: json(index) }]));
  return path;
}

/** Puts a version into a registry. */
export function publishVersion(registry: FakeRegistry, repository: string, tag: string, version: Version): void {
  for (const { body, mediaType } of [version.config, ...version.layers]) registry.blob(body, mediaType);
  for (const name of [tag, version.manifest.digest]) {
    registry.manifests.set(`${repository} ${name}`, { type: manifestType, bytes: version.manifest.body });
  }
}
