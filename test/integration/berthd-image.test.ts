/** Images come and go: by clients of 2.x over the Transfer service, by ctr of 1.6 with calls of its own. */

import { afterAll, afterEach, beforeAll, expect } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { archive, entry } from "../lib/archive.ts";
import { Berthd, builtBerthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { brokenOff, FakeRegistry, type FakeRegistryOptions } from "../lib/fake-registry.ts";
import { writeImageArchive } from "../lib/image.ts";
import { whyNoContainers } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { ends, TransferClient } from "../lib/transfer.ts";

const impossible = whyNoContainers() ?? (existsSync(builtBerthd) ? undefined : "berthd is not built");
const platform = {
  os: "linux",
  architecture: { x64: "amd64", arm64: "arm64" }[process.arch as string] ?? process.arch,
};
const scope = processScope();
const registries: FakeRegistry[] = [];
let daemon: Berthd;
let client: TransferClient;
let namespace = "";
let count = 0;

beforeAll(async () => {
  if (impossible !== undefined) return;
  daemon = new Berthd(join(scope.dir, "berthd"), scope.token, { debug: true });
  await daemon.start();
});
afterAll(async () => {
  await daemon?.stop();
  daemon?.remove();
}, 30_000);
afterEach(() => {
  client?.close();
  for (const registry of registries.splice(0)) registry.stop();
});

/** Each test has a namespace of its own. */
function image(name: string, body: () => Promise<void>): void {
  testUnless(
    impossible,
    name,
    async () => {
      namespace = `${scope.token}-i${++count}`;
      client = new TransferClient(daemon.address, namespace);
      await body();
      expect(await ctr("leases", "ls", "-q")).toBe("");
      expect((await ctr("snapshots", "--snapshotter", daemon.snapshotter, "ls")).includes("Active")).toBe(false);
    },
    30_000,
  );
}

async function ctr(...args: string[]): Promise<string> {
  const { stdout, stderr, exitCode } = await run(["ctr", "-a", daemon.address, "-n", namespace, ...args]);
  if (exitCode !== 0) throw new Error(`ctr ${args.join(" ")}: ${stderr}`);
  return stdout.trim();
}

function fake(options: FakeRegistryOptions = {}): FakeRegistry {
  const registry = new FakeRegistry(options);
  registries.push(registry);
  return registry;
}

/** Puts an image of two layers into a registry. `salt` makes its bytes its own. */
function publish(registry: FakeRegistry, repository: string, salt: string) {
  const noise = Buffer.concat(Array.from({ length: 40 }, () => crypto.getRandomValues(new Uint8Array(65536))));
  const layers = [
    archive(entry({ name: "etc/", type: "5", mode: 0o755 }), entry({ name: "etc/one", body: salt, mode: 0o644 })),
    archive(entry({ name: "two", body: noise, mode: 0o644 }), entry({ name: "etc/.wh.one" })),
  ];
  const digests = layers.map((layer) => `sha256:${new Bun.CryptoHasher("sha256").update(layer).digest("hex")}`);
  const config = registry.blob(
    JSON.stringify({ ...platform, config: {}, rootfs: { type: "layers", diff_ids: digests } }),
    "application/vnd.oci.image.config.v1+json",
  );
  const gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
  const descriptors = layers.map((layer) => registry.blob(Bun.gzipSync(Buffer.from(layer)), gzip));
  const manifest = registry.manifest(repository, "1", { schemaVersion: 2, config, layers: descriptors });
  return { manifest, config, layers: descriptors, digests };
}

const store = (name: string) =>
  ends.store({
    name,
    platforms: [platform],
    allMetadata: true,
    unpacks: [{ platform, snapshotter: daemon.snapshotter }],
  });
const events = (steps: readonly { event: string; name: string }[]): string[] =>
  steps.map(({ event, name }) => (name === "" ? event : `${name.replace(/@?sha256:.*/, "")} ${event}`));

image("a pull with a token tells its progress in containerd's words, and no secret anywhere", async () => {
  const registry = fake({ auth: "bearer", username: "alice", password: "pass-w0rd-5ecret" });
  const name = `${registry.host}/team/app:1`;
  const { manifest, digests } = publish(registry, "team/app", namespace);
  const { id, asked } = await client.credentials(() => ({ username: "alice", secret: "pass-w0rd-5ecret" }));
  const { steps, code, message } = await client.transfer(ends.registry(name, { authStream: id }), store(name));
  expect({ code, message }).toEqual({ code: 0, message: "" });
  expect(asked).toEqual([registry.host]);
  const told = events(steps);
  expect(told.slice(0, 4)).toEqual([
    `Resolving from OCI Registry (${name})`,
    `Pulling from OCI Registry (${name})`,
    `${name} fetching image content`,
    "manifest- waiting",
  ]);
  expect(told).toContain(`${name} saved`);
  // A blob that takes longer than a tick of the progress is told in between, as often as it takes.
  const isTick = (step: string): boolean => /^(manifest|config|layer)- downloading$/.test(step);
  expect(
    told
      .slice(4)
      .filter((step) => !isTick(step))
      .sort(),
  ).toEqual(
    [
      "config- waiting",
      "layer- waiting",
      "layer- waiting",
      `${name} saved`,
      `Completed pull from OCI Registry (${name})`,
      "manifest- complete",
      "config- complete",
      "layer- complete",
      "layer- complete",
    ].sort(),
  );
  expect(await ctr("images", "ls", "-q")).toBe(name);
  expect(await ctr("images", "check", "--snapshotter", daemon.snapshotter)).toContain("complete (3/3)");
  const labels = await ctr("content", "ls");
  expect(labels).toContain(`containerd.io/gc.ref.content.l.1=`);
  expect(labels).toContain(`containerd.io/distribution.source.127.0.0.1=team/app`);
  expect(labels).toContain(`containerd.io/uncompressed=${digests[0]}`);
  expect(labels).toContain(manifest.digest);

  const denied = await client.credentials(() => ({ username: "alice", secret: "wr0ng-5ecret" }));
  const other = `${registry.host}/team/other:1`;
  const refused = await client.transfer(ends.registry(other, { authStream: denied.id }), store(other));
  expect(refused.message).toContain("authorization failed");
  expect(JSON.stringify([steps, refused])).not.toContain("5ecret");
  expect(readFileSync(daemon.logPath, "utf8")).not.toContain("5ecret");
});

image("what breaks off is resumed, and wrong bytes are refused", async () => {
  const registry = fake();
  const name = `${registry.host}/app:1`;
  const { layers } = publish(registry, "app", namespace);
  const large = layers[1]?.digest ?? "";
  const bytes = registry.blobs.get(large) ?? Buffer.alloc(0);
  let broken = 1;
  registry.faults.push(({ path, method }) =>
    method === "GET" && path.includes(large) && broken-- > 0 ? brokenOff(bytes, 1_500_000) : undefined,
  );
  expect(await client.transfer(ends.registry(name), store(name))).toMatchObject({ code: 0 });
  const ranges = registry.asked.filter(({ path }) => path.includes(large)).map(({ headers }) => headers["range"]);
  expect(ranges).toHaveLength(2);
  expect(ranges[1]).toMatch(/^bytes=[1-9]/);

  const evil = fake();
  const second = publish(evil, "app", `${namespace} evil`);
  const target = second.layers[1]?.digest ?? "";
  evil.faults.push(({ path, method }) => {
    if (method !== "GET" || !path.includes(target)) return undefined;
    const changed = Buffer.from(evil.blobs.get(target) ?? []);
    changed[100] = (changed[100] ?? 0) ^ 255;
    return new Response(changed);
  });
  const failed = await client.transfer(ends.registry(`${evil.host}/app:1`), store(`${evil.host}/app:1`));
  expect(failed.code).toBe(9);
  expect(failed.message).toContain("unexpected commit digest");
  expect(await ctr("images", "ls", "-q")).toBe(name);
  expect(await ctr("content", "active")).not.toContain(target);
});

image("a client that cancels ends the transfer, and the next one succeeds", async () => {
  const registry = fake();
  const name = `${registry.host}/app:1`;
  const { layers } = publish(registry, "app", namespace);
  const large = layers[1]?.digest ?? "";
  const bytes = registry.blobs.get(large) ?? Buffer.alloc(0);
  const controller = new AbortController();
  let isSlow = true;
  registry.faults.push(({ path, method }) => {
    if (method !== "GET" || !path.includes(large) || !isSlow) return undefined;
    const body = new ReadableStream({
      async start(stream) {
        stream.enqueue(bytes.slice(0, 2_000_000));
        await Bun.sleep(300);
        controller.abort();
      },
    });
    return new Response(body, { headers: { "content-length": String(bytes.length) } });
  });
  expect((await client.transfer(ends.registry(name), store(name), controller.signal)).code).toBe(1);
  isSlow = false;
  // What has come stays for the next one, which goes on there.
  expect(await ctr("leases", "ls", "-q")).toMatch(/^berth-pull-[0-9a-f]{16}$/);
  expect(await client.transfer(ends.registry(name), store(name))).toMatchObject({ code: 0 });
  const ranges = registry.asked.filter(({ path }) => path.includes(large)).map(({ headers }) => headers["range"]);
  expect(ranges.at(-1)).toMatch(/^bytes=[1-9]/);
  expect(await ctr("images", "check", "--snapshotter", daemon.snapshotter)).toContain("complete (3/3)");
});

image("many pulls of one image at once fetch and unpack it once", async () => {
  const registry = fake();
  const name = `${registry.host}/app:1`;
  const { layers } = publish(registry, "app", namespace);
  const outcomes = await Promise.all(
    Array.from({ length: 5 }, () => client.transfer(ends.registry(name), store(name))),
  );
  expect(outcomes.map(({ message }) => message)).toEqual(["", "", "", "", ""]);
  for (const { digest } of layers) {
    expect(registry.asked.filter(({ method, path }) => method === "GET" && path.includes(digest))).toHaveLength(1);
  }
});

image("an archive comes in over a stream and goes out over one, byte for byte again", async () => {
  const path = join(scope.dir, `${namespace}.tar`);
  writeImageArchive(path);
  const bytes = readFileSync(path);
  const prefix = { name: "import", isPrefix: true, allowOverwrite: true };
  const into = ends.store({
    extraReferences: [prefix],
    platforms: [platform],
    unpacks: [{ platform, snapshotter: daemon.snapshotter }],
    labels: { from: "stream" },
  });
  for (const form of [bytes, Bun.gzipSync(bytes), Bun.zstdCompressSync(bytes)]) {
    const imported = await client.transfer(ends.importStream(await client.sender(form)), into);
    expect(imported.message).toBe("");
    expect(events(imported.steps)).toEqual(["Importing", "localhost/berth-test:latest saved", "Completed import"]);
  }
  expect(await ctr("images", "ls")).toContain("from=stream");
  const first = await client.receiver();
  const from = ends.store({ extraReferences: [{ name: "localhost/berth-test:latest" }] });
  const exported = await client.transfer(from, ends.exportStream(first.id));
  expect(events(exported.steps)).toEqual(["Exporting", "Completed export"]);
  const out = join(scope.dir, `${namespace}-16.tar`);
  await ctr("images", "export", out, "localhost/berth-test:latest");
  expect(first.bytes().length).toBeGreaterThan(1_000_000);
  // ctr of 1.6 writes no media type into index.json; all else is the same.
  const text = (data: Buffer): string =>
    data.toString("latin1").replace('"mediaType":"application/vnd.oci.image.index.v1+json",', "");
  expect(text(first.bytes()).length).toBeLessThanOrEqual(readFileSync(out).length + 512);
  await ctr("images", "rm", "--sync", "localhost/berth-test:latest");
  const again = await client.transfer(ends.importStream(await client.sender(first.bytes())), into);
  expect(again.message).toBe("");
});

image("archives that are broken, hostile or cut off leave nothing behind", async () => {
  const into = ends.store({ extraReferences: [{ name: "import", isPrefix: true, allowOverwrite: true }] });
  const layout = entry({ name: "oci-layout", body: '{"imageLayoutVersion":"1.0.0"}' });
  const large = Buffer.concat([
    layout,
    entry({ name: "blobs/x", body: crypto.getRandomValues(new Uint8Array(60_000)) }),
  ]);
  for (const [bytes, stopAfter, wanted] of [
    [crypto.getRandomValues(new Uint8Array(100_000)), undefined, "invalid tar header"],
    [large.subarray(0, 40_000), undefined, "unexpected EOF"],
    [archive(layout, entry({ name: "../../../../etc/berth-evil", body: "x" })), undefined, "missing index.json"],
    [
      archive(layout, entry({ name: "index.json", body: '{"manifests":[{"digest":"../x","size":1}]}' })),
      undefined,
      "invalid digest",
    ],
    [new Uint8Array(20 << 20), 3 << 20, "unrecognized"],
  ] as const) {
    const failed = await client.transfer(ends.importStream(await client.sender(bytes, stopAfter)), into);
    expect(failed.code).not.toBe(0);
    expect(failed.message).toContain(wanted);
  }
  expect(existsSync("/etc/berth-evil")).toBe(false);
  expect((await ctr("content", "active")).split("\n")).toHaveLength(1);
  const gone = ends.importStream(await client.sender(large.subarray(0, 1 << 20), 32 << 10));
  expect((await client.transfer(gone, into)).code).not.toBe(0);
});

image("an image is pushed with what it needs, and comes back by ctr of 1.6", async () => {
  const path = join(scope.dir, `${namespace}.tar`);
  writeImageArchive(path);
  await ctr("images", "import", "--snapshotter", daemon.snapshotter, path);
  const registry = fake({ auth: "basic" });
  const name = `${registry.host}/team/app:1`;
  expect(
    (await client.transfer(ends.store({ name: "localhost/berth-test:latest" }), ends.store({ name }))).message,
  ).toBe("");
  const { id } = await client.credentials(() => ({ username: "user", secret: "secret" }));
  const pushed = await client.transfer(ends.store({ name }), ends.registry(name, { authStream: id }));
  expect(pushed.message).toBe("");
  expect(events(pushed.steps).slice(0, 2)).toEqual([`Pushing to OCI Registry (${name})`, `${name} pushing content`]);
  expect(registry.manifests.has("team/app 1")).toBe(true);
  await ctr("images", "rm", "--sync", name, "localhost/berth-test:latest");
  await ctr("images", "pull", "--plain-http", "--user", "user:secret", "--snapshotter", daemon.snapshotter, name);
  expect(await ctr("images", "check", "--snapshotter", daemon.snapshotter)).toContain("complete");
  const again = await client.transfer(ends.store({ name }), ends.registry(name, { authStream: id }));
  expect(events(again.steps).filter((line) => line.endsWith("already exists"))).toHaveLength(3);
});

image("what cannot be transferred is refused in containerd's words", async () => {
  const unknownType = { type_url: "example.com.Nothing", value: new Uint8Array() };
  for (const [source, destination, code, wanted] of [
    [
      ends.registry("host/a:1"),
      ends.registry("host/b:1"),
      12,
      "method Transfer not implemented for containerd.types.transfer.OCIRegistry to containerd.types.transfer.OCIRegistry",
    ],
    [unknownType, store("a"), 5, "type with url example.com.Nothing: not found"],
    [ends.store({ name: "none:1" }), ends.store({ name: "b" }), 5, 'image "none:1": not found'],
    [ends.importStream("no-such-stream"), store("a"), 5, "not found"],
    [ends.registry("host/a"), store("host/a"), 3, "failed to resolve image: object required"],
    [ends.registry("../../x:1"), store("x"), 3, "failed to resolve image: invalid reference"],
    [ends.registry("127.0.0.1:1/x:1"), store("x"), 2, "connection refused"],
  ] as const) {
    const failed = await client.transfer(source, destination);
    expect(failed.message).toContain(wanted);
    expect(failed.code).toBe(code);
  }
});

image("hosts.toml sends pulls to mirrors", async () => {
  const [upstream, mirror] = [fake(), fake()];
  const { config, layers } = publish(upstream, "app", namespace);
  for (const { digest } of [config, ...layers]) mirror.blobs.set(digest, upstream.blobs.get(digest) ?? Buffer.alloc(0));
  const hostDir = join(scope.dir, `${namespace}-certs`);
  await Bun.write(
    join(hostDir, "registry.example", "hosts.toml"),
    `server = "${upstream.url}"\n[host."${mirror.url}"]\ncapabilities = ["pull"]\n`,
  );
  const name = "registry.example/app:1";
  expect((await client.transfer(ends.registry(name, { hostDir, defaultScheme: "" }), store(name))).message).toBe("");
  expect(upstream.asked.filter(({ path }) => path.includes("/blobs/"))).toEqual([]);
  expect(mirror.asked.every(({ path }) => path.endsWith("?ns=registry.example"))).toBe(true);
});
