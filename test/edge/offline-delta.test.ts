/** R29: deltas between versions of an image: made, loaded, pulled, and refused. */

import { afterAll, beforeAll, expect } from "bun:test";
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Berthd, builtBerthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { makeVersion, publishVersion, type Version, writeVersion } from "../lib/delta-image.ts";
import { FakeRegistry } from "../lib/fake-registry.ts";
import { dist, whyNoContainers } from "../lib/paths.ts";
import { Registry } from "../lib/registry.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";

const impossible = whyNoContainers() ?? (existsSync(builtBerthd) ? undefined : "berthd is not built");
const scope = processScope();
const dir = join(scope.dir, "deltas");
const berth = join(dist, "berth");
let daemon: Berthd;
let namespace = "";
let count = 0;
const registries: FakeRegistry[] = [];
const docker = new Registry(join(scope.dir, "registry"));
const noRegistry = impossible ?? (await docker.start());

beforeAll(async () => {
  if (impossible !== undefined) return;
  mkdirSync(dir, { recursive: true });
  daemon = new Berthd(join(scope.dir, "berthd"), scope.token);
  await daemon.start();
});
afterAll(async () => {
  for (const registry of registries) registry.stop();
  docker.stop();
  await daemon?.stop();
  daemon?.remove();
}, 30_000);

/** Each test has a namespace of its own. */
function delta(name: string, body: () => Promise<void>, unless = impossible): void {
  testUnless(
    unless,
    name,
    async () => {
      namespace = `${scope.token}-d${++count}`;
      await body();
      expect(readdirSync(dir).filter((entry) => entry.startsWith("."))).toEqual([]);
      expect(readdirSync(join(daemon.root, "delta"))).toEqual([]);
    },
    60_000,
  );
}

/** Runs `berth`. @throws CommandError */
async function call(...args: string[]): Promise<string> {
  const { stdout } = await run([berth, "-n", namespace, "-a", daemon.address, ...args], { check: true });
  return stdout;
}

async function failure(...args: string[]): Promise<string> {
  const { stderr, exitCode } = await run([berth, "-n", namespace, "-a", daemon.address, ...args]);
  expect(exitCode).not.toBe(0);
  return stderr;
}

async function ctr(...args: string[]): Promise<string> {
  const command = ["ctr", "-a", daemon.address, "-n", namespace, ...args];
  return (await run(command, { check: true })).stdout.trim();
}

/** What the name of an image stands for. */
async function digestOf(name: string): Promise<string> {
  const line = (await ctr("images", "ls", `name==${name}`)).split("\n")[1] ?? "";
  return /sha256:[0-9a-f]{64}/.exec(line)?.[0] ?? "";
}

async function manifestOf(name: string) {
  type Part = { digest: string; mediaType: string };
  const text = await ctr("content", "get", await digestOf(name));
  return JSON.parse(text) as { config: Part; layers: Part[]; annotations?: Record<string, string> };
}

/** Every blob of an image is there as it should be, and it is unpacked. */
async function checkWhole(name: string): Promise<void> {
  const told = await ctr("images", "check", "--snapshotter", daemon.snapshotter, `name==${name}`);
  expect(told).toContain("complete (3/3)");
  expect(told.trimEnd()).toEndWith("true");
}

const save = (version: Version, tag: string): string =>
  writeVersion(join(dir, `${tag}.tar`), `localhost/app:${tag}`, version);

delta("R29: a delta of two archives makes the very image of the first, and is a fraction of it", async () => {
  const [one, two] = [makeVersion(1), makeVersion(2)];
  const [old, fresh] = [save(one, "one"), save(two, "two")];
  const file = join(dir, "delta.tar");
  const told = await call("delta", old, fresh, "-o", file);
  expect(told).toContain(file);
  expect(statSync(file).size).toBeLessThan(20_000);
  await call("load", "-i", old);
  expect(await call("load", "-i", file)).toContain("localhost/app:two");
  // The compressed layers were made again byte for byte: the image has its own digest.
  expect(await digestOf("localhost/app:two")).toBe(two.manifest.digest);
  await checkWhole("localhost/app:two");
  // And out of the store, as well as out of archives; equal images give equal deltas.
  const again = join(dir, "again.tar");
  await call("delta", "localhost/app:one", "localhost/app:two", "-q", "-o", again);
  expect(await Bun.file(again).bytes()).toEqual(await Bun.file(file).bytes());
  expect(await failure("delta", old, old, "-o", file)).toContain("same image");
});

delta(
  "R29: what compressed a layer and is not known leaves it uncompressed, under the same configuration",
  async () => {
    const [one, two, three] = [makeVersion(1, "foreign"), makeVersion(2, "foreign"), makeVersion(3, "foreign")];
    const files = [save(one, "f1"), save(two, "f2"), save(three, "f3")];
    const [first, second] = [join(dir, "foreign12.tar"), join(dir, "foreign23.tar")];
    await call("delta", files[0] ?? "", files[1] ?? "", "-o", first);
    await call("load", "-i", files[0] ?? "");
    await call("load", "-i", first);
    const { config, layers, annotations } = await manifestOf("localhost/app:f2");
    expect(config.digest).toBe(two.config.digest);
    expect(annotations).toEqual({ "berth/delta.manifest": two.manifest.digest });
    expect(layers.map(({ mediaType }) => mediaType.replace(/.*\./, ""))).toEqual(["tar+gzip", "tar"]);
    expect(layers[0]?.digest).toBe(two.layers[0]?.digest);
    const { rootfs } = JSON.parse(two.config.body.toString()) as { rootfs: { diff_ids: string[] } };
    expect(layers[1]?.digest).toBe(rootfs.diff_ids[1]);
    await checkWhole("localhost/app:f2");
    // The next delta, made elsewhere of the true image, applies to it all the same.
    await call("delta", files[1] ?? "", files[2] ?? "", "-o", second);
    await call("load", "-i", second);
    expect((await manifestOf("localhost/app:f3")).config.digest).toBe(three.config.digest);
    await checkWhole("localhost/app:f3");
  },
);

delta("R29: without the older image a delta is refused in a sentence that names it, and nothing stays", async () => {
  const [one, two] = [makeVersion(1), makeVersion(2)];
  const file = join(dir, "alone.tar");
  await call("delta", save(one, "w1"), save(two, "w2"), "-o", file);
  const told = await failure("load", "-i", file);
  expect(told).toContain(`of localhost/app:w1 (manifest ${one.manifest.digest}), whose layer`);
  expect(told).toContain("pull or load that image first");
  // Another version will not do either.
  await call("load", "-i", save(makeVersion(7), "w7"));
  expect(await failure("load", "-i", file)).toContain("whose layer");
  expect(await ctr("images", "ls", "-q")).toBe("localhost/app:w7");
  expect(await ctr("leases", "ls", "-q")).toBe("");
  // A delta that was changed on its way is noticed by its digests.
  const bytes = Buffer.from(await Bun.file(file).bytes());
  const at = bytes.indexOf("berth-patch-1");
  bytes.writeUInt8(bytes.readUInt8(at + 60) ^ 1, at + 60);
  writeFileSync(file, bytes);
  await call("load", "-i", save(one, "w1"));
  expect(await failure("load", "-i", file)).toContain("digest");
});

delta("R29: a pull takes the delta that the registry has, and all of the image where there is none", async () => {
  const registry = new FakeRegistry();
  registries.push(registry);
  const versions = [makeVersion(1), makeVersion(2), makeVersion(3), makeVersion(4)];
  const names = versions.map((version, i) => {
    publishVersion(registry, "app", `${i + 1}`, version);
    return `${registry.host}/app:${i + 1}`;
  });
  const [one = "", two = "", three = "", four = ""] = names;
  const [, second, third, fourth] = versions;
  await call("pull", "-q", one);
  const made = await call("delta", one, save(second as Version, "p2"), "--push", `${registry.host}/app`);
  expect(made).toMatch(/\/app:delta-[0-9a-f]{12}-[0-9a-f]{12}/);
  registry.asked.length = 0;
  await call("pull", "-q", two);
  expect(await digestOf(two)).toBe(second?.manifest.digest ?? "");
  await checkWhole(two);
  const asked = () => registry.asked.map(({ method, path }) => `${method} ${path}`);
  const layer = second?.layers[1]?.digest ?? "";
  expect(asked().filter((line) => line.includes(layer))).toEqual([]);
  const bytes = (kind: string): number =>
    registry.asked
      .filter(({ method, path }) => method === "GET" && path.includes(kind))
      .reduce((sum, { path }) => sum + (registry.blobs.get(path.replace(/.*\//, ""))?.length ?? 0), 0);
  expect(bytes("blobs/")).toBeLessThan(20_000);

  // A delta that cannot compress as it was done is good for the next pull of the same name, too.
  const [before, after] = [makeVersion(11, "foreign"), makeVersion(12, "foreign")];
  publishVersion(registry, "foreign", "1", before);
  publishVersion(registry, "foreign", "2", after);
  await call("pull", "-q", `${registry.host}/foreign:1`);
  await call("delta", `${registry.host}/foreign:1`, save(after, "p3"), "--push", `${registry.host}/foreign`);
  for (let turn = 0; turn < 2; turn++) {
    registry.asked.length = 0;
    await call("pull", "-q", `${registry.host}/foreign:2`);
    expect(asked().filter((line) => line.includes(after.layers[1]?.digest ?? ""))).toEqual([]);
  }
  expect((await manifestOf(`${registry.host}/foreign:2`)).config.digest).toBe(after.config.digest);
  expect(asked().filter((line) => line.includes("/delta-"))).toEqual([]);

  // There is none for the next one: one question more, and all of it.
  registry.asked.length = 0;
  await call("pull", "-q", three);
  expect(await digestOf(three)).toBe(third?.manifest.digest ?? "");
  expect(asked().filter((line) => line.includes("/delta-"))).toHaveLength(1);
  expect(asked().some((line) => line.startsWith("GET") && line.includes(third?.layers[1]?.digest ?? ""))).toBe(true);

  // What is there as a delta is none: the whole image comes nevertheless.
  const hex = (digest = ""): string => digest.slice("sha256:".length, "sha256:".length + 12);
  const junk = registry.manifest("app", `delta-${hex(third?.manifest.digest)}-${hex(fourth?.manifest.digest)}`, {
    ...{ schemaVersion: 2, config: registry.blob("{}", "application/vnd.berth.delta.config.v1+json"), layers: [] },
  });
  expect(junk.size).toBeGreaterThan(0);
  registry.asked.length = 0;
  await call("pull", "-q", four);
  expect(await digestOf(four)).toBe(fourth?.manifest.digest ?? "");
  expect(asked().filter((line) => line.includes("/delta-")).length).toBeGreaterThan(0);
  await checkWhole(four);
  expect(daemon.log()).toContain("a delta could not be used");
});

delta(
  "R29: a delta goes to docker's registry and comes from there",
  async () => {
    const [one, two] = [makeVersion(1), makeVersion(2)];
    const [first, second] = [`${docker.host}/team/app:1`, `${docker.host}/team/app:2`];
    for (const [name, version] of [[first, one] as const, [second, two] as const]) {
      await call("load", "-q", "-i", writeVersion(join(dir, "real.tar"), name, version));
      await call("push", "-q", name);
    }
    await call("delta", first, second, "-q", "--push");
    // A node that has nothing of the new one.
    namespace = `${namespace}-node`;
    await call("pull", "-q", first);
    const before = daemon.log().length;
    await call("pull", "-q", second);
    expect(await digestOf(second)).toBe(two.manifest.digest);
    await checkWhole(second);
    expect(daemon.log().slice(before)).toContain("pulled by a delta");
  },
  noRegistry,
);
