/** Small images whose every byte is known: two layers, each with files of random bytes. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { tar } from "../lib/image.ts";
import type { Random } from "../lib/random.ts";

/** One image. */
export interface Layered {
  readonly name: string;
  readonly path: string;
  /** Digest of its manifest. */
  readonly manifest: string;
  /** Names of its committed snapshots: chain ids, the base first. */
  readonly chain: readonly string[];
  /** Digests of the files of the whole tree. */
  readonly files: ReadonlyMap<string, string>;
  /** Digests of its blobs. */
  readonly blobs: readonly string[];
}

function digest(body: Uint8Array | string): string {
  return `sha256:${new Bun.CryptoHasher("sha256").update(body).digest("hex")}`;
}

/** Writes an image as an OCI archive. */
export function writeLayered(dir: string, id: string, random: Random): Layered {
  mkdirSync(dir, { recursive: true });
  const files = new Map<string, string>();
  const layers = ["one", "two"].map((layer) => {
    const entries = [`${layer}/a`, `${layer}/b`, `${layer}/empty`].map((name, at) => {
      const body = random.bytes(at === 2 ? 0 : random.between(1, 300_000));
      files.set(name, digest(body));
      return { name, mode: 0o644, body };
    });
    return tar([{ name: `${layer}/`, mode: 0o755, directory: true }, ...entries]);
  });
  const packed = layers.map((layer) => gzipSync(layer, { level: 1 }));
  const blobs = new Map<string, Uint8Array>();
  const add = (mediaType: string, body: Uint8Array) => {
    blobs.set(digest(body), body);
    return { mediaType, digest: digest(body), size: body.length };
  };
  const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
  const architecture = { x64: "amd64", arm64: "arm64" }[process.arch as string] ?? process.arch;
  const diffs = layers.map(digest);
  const rootfs = { type: "layers", diff_ids: diffs };
  const config = add(
    "application/vnd.oci.image.config.v1+json",
    json({ architecture, os: "linux", config: {}, rootfs }),
  );
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const parts = packed.map((layer) => add("application/vnd.oci.image.layer.v1.tar+gzip", layer));
  const manifest = add(mediaType, json({ schemaVersion: 2, mediaType, config, layers: parts }));
  const name = `example.com/load/${id}:1`;
  const annotations = { "io.containerd.image.name": name };
  const index = {
    schemaVersion: 2,
    manifests: [{ ...manifest, platform: { architecture, os: "linux" }, annotations }],
  };
  const path = join(dir, `${id}.tar`);
  writeFileSync(
    path,
    tar([
      { name: "oci-layout", mode: 0o644, body: json({ imageLayoutVersion: "1.0.0" }) },
      ...[...blobs].map(([of, body]) => ({ name: `blobs/sha256/${of.slice(7)}`, mode: 0o644, body })),
      { name: "index.json", mode: 0o644, body: json(index) },
    ]),
  );
  const [base = "", second = ""] = diffs;
  const chain = [base, digest(`${base} ${second}`)];
  return { name, path, manifest: manifest.digest, chain, files, blobs: [...blobs.keys()] };
}
