/** The images that both sides get: made here, so that they are the same bytes every time. */

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { applets, findBusybox, tar } from "../lib/image.ts";

type Entry = Parameters<typeof tar>[0][number];

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const json = (value: unknown): Uint8Array => text(JSON.stringify(value));
const sha256 = (body: Uint8Array): string => createHash("sha256").update(body).digest("hex");

/** Names of the images, by what they are for. */
export const names = {
  busybox: "example.com/busybox:1",
  layers: "example.com/layers:1",
  docker: "example.com/docker:1",
  platforms: "example.com/platforms:1",
} as const;

function base(): Entry[] {
  const directories = ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "var"];
  return [
    ...directories.map((name) => ({ name: `${name}/`, mode: name === "tmp" ? 0o1777 : 0o755, directory: true })),
    { name: "bin/busybox", mode: 0o755, body: readFileSync(findBusybox()) },
    ...applets.split(" ").map((name) => ({ name: `bin/${name}`, mode: 0o777, link: "busybox" })),
    { name: "etc/passwd", mode: 0o644, body: text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n") },
    { name: "etc/group", mode: 0o644, body: text("root:x:0:\nuser:x:1000:\n") },
    { name: "var/old", mode: 0o644, body: text("is removed by the next layer\n") },
  ];
}

/** Whiteouts, an opaque directory and a changed file. */
function upper(): Entry[] {
  return [
    { name: "var/", mode: 0o755, directory: true },
    { name: "var/.wh.old", mode: 0o600 },
    { name: "root/", mode: 0o700, directory: true },
    { name: "root/.wh..wh..opq", mode: 0o600 },
    { name: "root/new", mode: 0o640, body: text("new\n") },
    { name: "etc/group", mode: 0o644, body: text("root:x:0:\n") },
  ];
}

interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** An OCI layout that grows. */
class Layout {
  readonly #blobs = new Map<string, Uint8Array>();

  add(mediaType: string, body: Uint8Array): Blob {
    this.#blobs.set(sha256(body), body);
    return { mediaType, digest: `sha256:${sha256(body)}`, size: body.length };
  }

  /** @param layers compressed, each with its plain form */
  manifest(architecture: string, layers: readonly { blob: Blob; plain: Uint8Array }[]): Blob {
    const config = this.add(
      "application/vnd.oci.image.config.v1+json",
      json({
        architecture,
        os: "linux",
        created: "2024-01-02T03:04:05Z",
        config: { Env: ["PATH=/bin:/usr/bin", "COLOUR=blue"], Cmd: ["/bin/sh"], WorkingDir: "/", Labels: { a: "b" } },
        rootfs: { type: "layers", diff_ids: layers.map(({ plain }) => `sha256:${sha256(plain)}`) },
        history: layers.map((_, at) => ({ created: "2024-01-02T03:04:05Z", created_by: `layer ${at}` })),
      }),
    );
    const mediaType = "application/vnd.oci.image.manifest.v1+json";
    return this.add(mediaType, json({ schemaVersion: 2, mediaType, config, layers: layers.map(({ blob }) => blob) }));
  }

  write(path: string, name: string, manifests: readonly object[]): void {
    const annotations = {
      "io.containerd.image.name": name,
      "org.opencontainers.image.ref.name": name.split(":").at(-1),
    };
    const mediaType = "application/vnd.oci.image.index.v1+json";
    const index = { schemaVersion: 2, mediaType, manifests: manifests.map((one) => ({ ...one, annotations })) };
    writeFileSync(
      path,
      tar([
        { name: "oci-layout", mode: 0o644, body: json({ imageLayoutVersion: "1.0.0" }) },
        { name: "blobs/", mode: 0o755, directory: true },
        { name: "blobs/sha256/", mode: 0o755, directory: true },
        ...[...this.#blobs].map(([digest, body]) => ({ name: `blobs/sha256/${digest}`, mode: 0o644, body })),
        { name: "index.json", mode: 0o644, body: json(index) },
      ]),
    );
  }
}

const layerType = "application/vnd.oci.image.layer.v1.tar";
/** The architecture of this machine, as images spell it. */
export const architecture = { x64: "amd64", arm64: "arm64" }[process.arch as string] ?? process.arch;

/** Writes all archives into a directory and answers their paths. */
export function writeArchives(dir: string): Record<keyof typeof names, string> & { other: string } {
  const path = (name: string): string => join(dir, `${name}.tar`);
  const [first, second] = [tar(base()), tar(upper())];
  const other = architecture === "amd64" ? "arm64" : "amd64";

  const single = new Layout();
  const plain = { blob: single.add(layerType, first), plain: first };
  const platform = { architecture, os: "linux" };
  single.write(path("busybox"), names.busybox, [{ ...single.manifest(architecture, [plain]), platform }]);

  const two = new Layout();
  const zipped = { blob: two.add(`${layerType}+gzip`, gzipSync(first, { level: 1 })), plain: first };
  const packed = { blob: two.add(`${layerType}+zstd`, zstdCompressSync(second)), plain: second };
  two.write(path("layers"), names.layers, [{ ...two.manifest(architecture, [zipped, packed]), platform }]);

  const many = new Layout();
  const shared = { blob: many.add(`${layerType}+gzip`, gzipSync(first, { level: 1 })), plain: first };
  const mediaType = "application/vnd.oci.image.index.v1+json";
  const manifests = [architecture, other].map((one) => ({
    ...many.manifest(one, [shared]),
    platform: { architecture: one, os: "linux" },
  }));
  many.write(path("platforms"), names.platforms, [
    many.add(mediaType, json({ schemaVersion: 2, mediaType, manifests })),
  ]);

  const config = json({
    architecture,
    os: "linux",
    created: "2024-01-02T03:04:05Z",
    config: { Env: ["PATH=/bin"], Cmd: ["/bin/sh"] },
    rootfs: { type: "layers", diff_ids: [`sha256:${sha256(first)}`, `sha256:${sha256(second)}`] },
    history: [],
  });
  const saved = [
    { Config: `${sha256(config)}.json`, RepoTags: [names.docker], Layers: ["one/layer.tar", "two/layer.tar"] },
  ];
  writeFileSync(
    path("docker"),
    tar([
      { name: "one/", mode: 0o755, directory: true },
      { name: "one/layer.tar", mode: 0o644, body: first },
      { name: "two/", mode: 0o755, directory: true },
      { name: "two/layer.tar", mode: 0o644, body: second },
      { name: `${sha256(config)}.json`, mode: 0o644, body: config },
      { name: "manifest.json", mode: 0o644, body: json(saved) },
    ]),
  );
  return {
    busybox: path("busybox"),
    layers: path("layers"),
    docker: path("docker"),
    platforms: path("platforms"),
    other,
  };
}
