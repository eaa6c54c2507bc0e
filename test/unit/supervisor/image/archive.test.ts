import { afterEach, beforeEach, expect, test } from "bun:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { exportImages } from "../../../../supervisor/image/archive/exporter.ts";
import { importArchive } from "../../../../supervisor/image/archive/importer.ts";
import { ByteSource, decompressed } from "../../../../supervisor/image/archive/source.ts";
import { readTar } from "../../../../supervisor/image/archive/tar.ts";
import { chainIds } from "../../../../supervisor/image/chain.ts";
import { childLabels, type Descriptor, digestOf } from "../../../../supervisor/image/descriptor.ts";
import { parseIndex, parseManifest, readBlob } from "../../../../supervisor/image/manifest.ts";
import { mediaTypes } from "../../../../supervisor/image/mediatype.ts";
import { ordered } from "../../../../supervisor/image/platform.ts";
import { blobsOf } from "../../../../supervisor/image/session.ts";
import type { Blobs } from "../../../../supervisor/image/stores.ts";
import { walk } from "../../../../supervisor/image/walk.ts";
import { archive, entry } from "../../../lib/archive.ts";
import { Rig } from "../content/rig.ts";

let rig: Rig;
let blobs: Blobs;
const { signal } = new AbortController();

beforeEach(async () => {
  rig = await new Rig().open();
  blobs = blobsOf(rig.store, { namespace: "default", lease: undefined });
});
afterEach(async () => {
  await rig.stop();
  rig.remove();
});

/** Bytes in pieces of many sizes. */
async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0, size = 1; at < bytes.length; at += size, size = (size * 7) % 4099)
    yield bytes.subarray(at, at + size);
}

const source = (bytes: Uint8Array): ByteSource => new ByteSource(pieces(bytes));
const json = (value: unknown): string => JSON.stringify(value);
const hexOf = (text: string): string => digestOf(text).slice("sha256:".length);
const linux = { os: "linux", architecture: "amd64" };

async function failure(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "it did not fail",
    (error: Error) => error.message,
  );
}

const load = async (bytes: Uint8Array, compress = false): Promise<Descriptor> =>
  importArchive(await decompressed(source(bytes)), blobs, { compress, signal });

/** What `docker save` writes. */
function dockerArchive(tags: readonly string[] | null, extra: Uint8Array[] = []): Uint8Array {
  const config = json({
    architecture: "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: [digestOf("one"), digestOf("two")] },
  });
  return archive(
    entry({ name: "one/layer.tar", body: "one" }),
    entry({ name: "two/layer.tar", body: "two" }),
    entry({ name: "three/layer.tar", type: "2", target: "../two/layer.tar" }),
    entry({ name: "abc.json", body: config }),
    ...extra.map((bytes) => Buffer.from(bytes)),
    entry({
      name: "manifest.json",
      body: json([{ Config: "abc.json", RepoTags: tags, Layers: ["one/layer.tar", "three/layer.tar"] }]),
    }),
  );
}

async function manifestsOf(index: Descriptor): Promise<readonly Descriptor[]> {
  return parseIndex(await readBlob(blobs, index), index);
}

test("entries are read whatever sizes the bytes come in", async () => {
  const long = `${"d/".repeat(80)}${"n".repeat(120)}`;
  const pax = (records: Record<string, string>): Buffer => {
    const body = Object.entries(records)
      .map(([key, value]) => {
        let length = key.length + value.length + 3;
        while (String(length).length + key.length + value.length + 3 !== length)
          length = String(length).length + key.length + value.length + 3;
        return `${length} ${key}=${value}\n`;
      })
      .join("");
    return entry({ name: "pax", type: "x", body });
  };
  const bytes = archive(
    entry({ name: "a", body: "hello" }),
    entry({ name: "dir/", type: "5" }),
    entry({ name: "link", type: "2", target: "a" }),
    pax({ path: long }),
    entry({ name: "short", body: "x".repeat(1000) }),
    entry({ name: "././@LongLink", type: "L", body: `${long}\0` }),
    entry({ name: "short", body: "" }),
  );
  const read: string[] = [];
  for await (const { name, type, size, body } of readTar(source(bytes))) {
    let length = 0;
    if (name !== "a") for await (const part of body) length += part.length;
    read.push(`${name} ${type} ${size} ${length}`);
  }
  expect(read).toEqual([
    "a file 5 0",
    "dir/ directory 0 0",
    "link symlink 0 0",
    `${long} file 1000 1000`,
    `${long} file 0 0`,
  ]);
});

test("broken archives are refused with containerd's words", async () => {
  const good = archive(entry({ name: "a", body: "hello".repeat(1000) }));
  const all = async (bytes: Uint8Array): Promise<void> => {
    for await (const { body } of readTar(source(bytes))) for await (const part of body) void part;
  };
  expect(await failure(all(good.subarray(0, 2000)))).toBe("unexpected EOF");
  expect(await failure(all(good.subarray(0, 100)))).toBe("unexpected EOF");
  expect(await failure(all(crypto.getRandomValues(new Uint8Array(5000))))).toStartWith(
    "archive/tar: invalid tar header",
  );
  expect(await failure(all(archive(entry({ name: "a", wrongBy: 1 }))))).toBe("archive/tar: invalid tar header");
  expect(await failure(all(archive(entry({ name: "p", type: "x", body: "5 a=" }))))).toContain("bad extended header");
  expect(await failure(all(archive(entry({ name: "p", type: "x", size: 2 ** 31 - 1 }))))).toContain(
    "extended header that is too long",
  );
  expect(
    await failure(all(archive(entry({ name: "L", type: "L", body: "n".repeat(5000) }), entry({ name: "a" })))),
  ).toContain("name of more than");
});

test("an archive of docker save becomes manifests and an index, whole or compressed on the way", async () => {
  for (const bytes of [
    dockerArchive(["app:1", "me/app"]),
    gzipSync(dockerArchive(["app:1", "me/app"])),
    zstdCompressSync(dockerArchive(["app:1", "me/app"])),
  ]) {
    const index = await load(bytes);
    const manifests = await manifestsOf(index);
    expect(manifests.map(({ annotations }) => annotations)).toEqual([
      { "io.containerd.image.name": "docker.io/library/app:1", "org.opencontainers.image.ref.name": "1" },
      { "io.containerd.image.name": "docker.io/me/app:latest", "org.opencontainers.image.ref.name": "latest" },
    ]);
    const [first] = manifests;
    expect(first?.platform).toMatchObject(linux);
    const manifest = parseManifest(await readBlob(blobs, first as Descriptor), first as Descriptor);
    expect(manifest.layers.map(({ digest, mediaType }) => `${mediaType} ${digest}`)).toEqual([
      `${mediaTypes.dockerLayer} ${digestOf("one")}`,
      `${mediaTypes.dockerLayer} ${digestOf("two")}`,
    ]);
  }
});

test("layers are compressed when that is asked for, and taken compressed when they are here so", async () => {
  const index = await load(dockerArchive(null), true);
  const [manifest] = (await manifestsOf(index)) as [Descriptor];
  expect(manifest.annotations).toBeUndefined();
  const { layers } = parseManifest(await readBlob(blobs, manifest), manifest);
  expect(layers.map(({ mediaType }) => mediaType)).toEqual([mediaTypes.dockerLayerGzip, mediaTypes.dockerLayerGzip]);
  expect((await blobs.info(layers[0]?.digest ?? "")).labels).toEqual({ "containerd.io/uncompressed": digestOf("one") });
  const [again] = (await manifestsOf(await load(dockerArchive(null)))) as [Descriptor];
  expect(again.digest).toBe(manifest.digest);
});

test("what is wrong with an archive is said", async () => {
  const layout = entry({ name: "oci-layout", body: json({ imageLayoutVersion: "1.0.0" }) });
  for (const [bytes, wanted] of [
    [archive(entry({ name: "a", body: "x" })), "unrecognized image format"],
    [new Uint8Array(), "unrecognized image format"],
    [archive(layout), "missing index.json in OCI layout 1.0.0"],
    [archive(entry({ name: "oci-layout", body: json({ imageLayoutVersion: "9" }) })), "unsupported OCI version 9"],
    [archive(entry({ name: "oci-layout", body: "{" })), 'untar oci layout "oci-layout"'],
    [archive(entry({ name: "manifest.json", body: "{}" })), "manifest.json is no list"],
    [
      archive(entry({ name: "manifest.json", body: json([{ Config: "../../etc/passwd" }]) })),
      'image config "../../etc/passwd" not found',
    ],
    [archive(entry({ name: `blobs/sha256/${hexOf("unseen")}`, body: "y" })), "unexpected commit digest"],
    [dockerArchive(["Bad NAME"]), 'normalize image ref "Bad NAME"'],
    [gzipSync(dockerArchive(null)).subarray(0, 200), "the archive cannot be decompressed"],
    [
      archive(entry({ name: "l", type: "2", target: "none" }), entry({ name: "manifest.json", body: "[]" })),
      "no target for symlink layer",
    ],
  ] as const) {
    expect(await failure(load(bytes))).toContain(wanted);
  }
  expect(await rig.store.statuses("default", [])).toEqual([]);
});

/** Makes an index with two manifests. */
async function platforms(): Promise<Descriptor> {
  const put = async (mediaType: string, text: string): Promise<Descriptor> => ({
    mediaType,
    digest: await rig.put(text),
    size: text.length,
  });
  const manifests = [];
  for (const architecture of ["amd64", "arm64"]) {
    const config = await put(mediaTypes.ociConfig, json({ architecture, os: "linux" }));
    const layer = await put("application/vnd.oci.image.layer.nondistributable.v1.tar", `layer ${architecture}`);
    const manifest = await put(mediaTypes.ociManifest, json({ schemaVersion: 2, config, layers: [layer] }));
    manifests.push({ ...manifest, platform: { architecture, os: "linux" } });
  }
  return put(mediaTypes.ociIndex, json({ schemaVersion: 2, manifests }));
}

async function exported(
  target: Descriptor,
  names: readonly string[],
  more: Partial<Parameters<typeof exportImages>[3]> = {},
): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  await exportImages(
    names.map((name) => ({ name, target, labels: {} })),
    blobs,
    async (bytes) => void parts.push(bytes.slice()),
    {
      platform: ordered(linux),
      allPlatforms: false,
      skipDockerManifest: false,
      skipNonDistributable: false,
      signal,
      ...more,
    },
  );
  return Buffer.concat(parts);
}

async function filesOf(bytes: Uint8Array): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for await (const { name, body } of readTar(source(bytes))) {
    let text = "";
    for await (const part of body) text += Buffer.from(part).toString();
    files.set(name, text);
  }
  return files;
}

test("an export is the same bytes every time, holds what was asked for, and comes back in", async () => {
  const target = await platforms();
  const one = await exported(target, ["docker.io/library/app:1", "host/app:2"]);
  expect((await exported(target, ["docker.io/library/app:1", "host/app:2"])).equals(one)).toBe(true);
  const files = await filesOf(one);
  const named = [...files.keys()];
  expect(named).toEqual([...named].sort());
  expect(named.filter((name) => name.startsWith("blobs/sha256/")).length).toBe(1 + 4);
  expect(JSON.parse(files.get("manifest.json") ?? "")).toMatchObject([
    { RepoTags: ["app:1", "host/app:2"], Layers: [`blobs/sha256/${hexOf("layer amd64")}`] },
  ]);
  expect((await filesOf(await exported(target, ["a/b:1"], { allPlatforms: true }))).size).toBe(2 + 1 + 6 + 3);
  const skipped = await filesOf(
    await exported(target, ["a/b:1"], { skipDockerManifest: true, skipNonDistributable: true }),
  );
  expect(skipped.has("manifest.json") || skipped.has(`blobs/sha256/${hexOf("layer amd64")}`)).toBe(false);
  expect(
    await failure(exported(target, ["a/b:1"], { platform: ordered({ os: "linux", architecture: "s390x" }) })),
  ).toBe("no manifest found for platform: not found");
  const manifests = await manifestsOf(await load(one));
  expect(
    manifests.map(
      ({ digest, annotations }) => `${digest === target.digest} ${annotations?.["io.containerd.image.name"]}`,
    ),
  ).toEqual(["true docker.io/library/app:1", "true host/app:2"]);
});

test("a damaged blob is not exported", async () => {
  const target = await platforms();
  const path = rig.store.path(digestOf("layer amd64"));
  await Bun.$`chmod u+w ${path}`.quiet();
  await Bun.write(path, "layer amd65");
  expect(await failure(exported(target, ["a/b:1"]))).toContain("unexpected digest");
});

test("children are kept by labels that containerd sets too", () => {
  const child = (mediaType: string, digest: string): Descriptor => ({ mediaType, digest, size: 1 });
  expect(
    childLabels([
      child(mediaTypes.ociConfig, "c"),
      child("application/vnd.oci.image.layer.v1.tar+gzip", "l0"),
      child(mediaTypes.dockerLayerGzip, "l1"),
      child(mediaTypes.ociManifest, "m"),
      child(mediaTypes.ociIndex, "i"),
      child("application/x", "x"),
    ]),
  ).toEqual({
    "containerd.io/gc.ref.content.config": "c",
    "containerd.io/gc.ref.content.l.0": "l0",
    "containerd.io/gc.ref.content.l.1": "l1",
    "containerd.io/gc.ref.content.m.0": "m",
    "containerd.io/gc.ref.content.0": "i",
    "containerd.io/gc.ref.content.1": "x",
  });
});

test("a manifest that says it is something else, or is no manifest, is refused", () => {
  const descriptor = { mediaType: mediaTypes.ociManifest, digest: `sha256:${"a".repeat(64)}`, size: 1 };
  const index = { ...descriptor, mediaType: mediaTypes.ociIndex };
  const good = { mediaType: mediaTypes.ociConfig, digest: descriptor.digest, size: 3 };
  for (const value of [
    "x",
    json([]),
    json({}),
    json({ config: good, manifests: [] }),
    json({ config: good, mediaType: mediaTypes.ociIndex }),
    json({ config: good, fsLayers: [] }),
    json({ config: { ...good, digest: "sha256:../../x" } }),
    json({ config: { ...good, size: -1 } }),
    json({ config: { ...good, size: 1e300 } }),
    json({ config: good, layers: "many" }),
    json({ config: good, layers: Array.from({ length: 5000 }, () => good) }),
  ]) {
    expect(() => parseManifest(Buffer.from(value), descriptor), value.slice(0, 80)).toThrow();
  }
  expect(() => parseIndex(Buffer.from(json({ config: good })), index)).toThrow("expected index but found manifest");
});

test("an image that goes round in circles or down for ever is refused", async () => {
  const descriptor = (name: string): Descriptor => ({ mediaType: mediaTypes.ociIndex, digest: name, size: 1 });
  let visits = 0;
  await walk(async ({ digest }) => {
    visits++;
    return [descriptor(digest === "a" ? "b" : "a")];
  }, descriptor("a"));
  expect(visits).toBe(2);
  let depth = 0;
  expect(await failure(walk(async () => [descriptor(`${++depth}`)], descriptor("0")))).toContain("nested deeper");
});

test("chain ids are those of the specification", () => {
  expect(chainIds(["sha256:a", "sha256:b", "sha256:c"])).toEqual([
    "sha256:a",
    digestOf("sha256:a sha256:b"),
    digestOf(`${digestOf("sha256:a sha256:b")} sha256:c`),
  ]);
  expect(chainIds([])).toEqual([]);
});
