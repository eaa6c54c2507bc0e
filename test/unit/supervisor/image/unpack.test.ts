import { afterEach, beforeEach, expect, test } from "bun:test";
import { alreadyExists, notFound } from "../../../../proto/errdefs.ts";
import { chainIds } from "../../../../supervisor/image/chain.ts";
import { type Descriptor, digestOf } from "../../../../supervisor/image/descriptor.ts";
import { KeyedLock } from "../../../../supervisor/image/lock.ts";
import { childrenOf } from "../../../../supervisor/image/manifest.ts";
import { mediaTypes } from "../../../../supervisor/image/mediatype.ts";
import { everything } from "../../../../supervisor/image/platform.ts";
import { blobsOf } from "../../../../supervisor/image/session.ts";
import type { Applier, Blobs, Snapshots } from "../../../../supervisor/image/stores.ts";
import { Unpacker } from "../../../../supervisor/image/unpack.ts";
import { walk } from "../../../../supervisor/image/walk.ts";
import { Rig } from "../content/rig.ts";

let rig: Rig;
let blobs: Blobs;

beforeEach(async () => {
  rig = await new Rig().open();
  blobs = blobsOf(rig.store, { namespace: "default", lease: undefined });
});
afterEach(async () => {
  await rig.stop();
  rig.remove();
});

/** Snapshots in memory, with labels as containerd's metadata treats them. */
class FakeSnapshots implements Snapshots {
  readonly name = "fake";
  readonly active = new Map<string, string>();
  readonly committed = new Map<string, string>();
  readonly log: string[] = [];

  async stat(key: string): Promise<void> {
    if (!this.committed.has(key)) throw notFound(`snapshot ${key} does not exist: not found`);
  }
  async prepare(key: string, parent: string, labels: Readonly<Record<string, string>>) {
    if (this.committed.has(labels["containerd.io/snapshot.ref"] ?? ""))
      throw alreadyExists("target snapshot: already exists");
    if (parent !== "" && !this.committed.has(parent))
      throw notFound(`parent snapshot ${parent} does not exist: not found`);
    this.active.set(key, parent);
    this.log.push("prepare");
    return [{ type: "bind", source: key, target: "", options: [] }];
  }
  async commit(name: string, key: string): Promise<void> {
    const parent = this.active.get(key);
    if (parent === undefined) throw notFound("no such key: not found");
    if (this.committed.has(name)) throw alreadyExists("already exists");
    this.active.delete(key);
    this.committed.set(name, parent);
    this.log.push("commit");
  }
  async settled(key: string): Promise<void> {
    this.log.push(`settled ${key}`);
  }

  async remove(key: string): Promise<void> {
    this.active.delete(key);
    this.log.push("remove");
  }
}

const texts = ["bottom", "middle", "top"];
const diffIds = texts.map((text) => digestOf(`plain ${text}`));
const chain = chainIds(diffIds);

/** An image whose layers are not here yet. */
async function image(config: unknown = { architecture: "amd64", os: "linux", rootfs: { diff_ids: diffIds } }) {
  const put = async (mediaType: string, value: unknown): Promise<Descriptor> => {
    const text = JSON.stringify(value);
    return { mediaType, digest: await rig.put(text), size: text.length };
  };
  const layers = texts.map((text) => ({
    mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
    digest: digestOf(text),
    size: text.length,
  }));
  const configuration = await put(mediaTypes.ociConfig, config);
  const manifest = await put(mediaTypes.ociManifest, { schemaVersion: 2, config: configuration, layers });
  return { manifest, configuration, layers };
}

interface Run {
  readonly snapshots?: FakeSnapshots;
  readonly apply?: (index: number) => Promise<string>;
  readonly fetch?: (index: number) => Promise<void>;
  readonly locks?: KeyedLock;
  readonly signal?: AbortSignal;
}

async function unpack(
  root: Descriptor,
  run: Run = {},
): Promise<{ snapshots: FakeSnapshots; fetched: number[]; applied: number[] }> {
  const snapshots = run.snapshots ?? new FakeSnapshots();
  const [fetched, applied]: [number[], number[]] = [[], []];
  const applier: Applier = {
    async apply({ digest }) {
      const index = texts.findIndex((text) => digestOf(text) === digest);
      applied.push(index);
      return { digest: (await run.apply?.(index)) ?? diffIds[index] ?? "" };
    },
  };
  const unpacker = new Unpacker({
    blobs,
    applier,
    targets: [{ platform: everything, snapshots }],
    locks: run.locks ?? new KeyedLock(),
    signal: run.signal ?? new AbortController().signal,
  });
  const visit = async (descriptor: Descriptor): Promise<readonly Descriptor[]> => {
    const index = texts.findIndex((text) => digestOf(text) === descriptor.digest);
    if (index >= 0) {
      fetched.push(index);
      await run.fetch?.(index);
      await rig.put(texts[index] ?? "").catch(() => undefined);
    }
    return childrenOf(blobs, descriptor);
  };
  try {
    await walk(unpacker.around(visit), root);
  } catch (error) {
    await unpacker.stop();
    throw error;
  }
  await unpacker.done();
  return { snapshots, fetched, applied };
}

async function failure(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "it did not fail",
    (error: Error) => error.message,
  );
}

test("layers are unpacked onto each other, and labels say so", async () => {
  const { manifest, configuration, layers } = await image();
  const { snapshots, applied } = await unpack(manifest);
  expect([...snapshots.committed]).toEqual([
    [chain[0] ?? "", ""],
    [chain[1] ?? "", chain[0] ?? ""],
    [chain[2] ?? "", chain[1] ?? ""],
  ]);
  expect(applied).toEqual([0, 1, 2]);
  // Nothing is acknowledged before.
  expect(snapshots.log.at(-1)).toBe(`settled ${chain[2]}`);
  expect(snapshots.active.size).toBe(0);
  expect((await blobs.info(configuration.digest)).labels).toEqual({
    "containerd.io/gc.ref.snapshot.fake": chain[2] ?? "",
  });
  expect((await blobs.info(layers[1]?.digest ?? "")).labels).toEqual({
    "containerd.io/uncompressed": diffIds[1] ?? "",
  });
});

test("layers that are unpacked already are neither fetched nor applied", async () => {
  const { manifest } = await image();
  const snapshots = new FakeSnapshots();
  snapshots.committed.set(chain[0] ?? "", "");
  const { fetched, applied } = await unpack(manifest, { snapshots });
  expect(fetched.sort()).toEqual([1, 2]);
  expect(applied).toEqual([1, 2]);
  const again = await unpack(manifest, { snapshots });
  expect(again.fetched).toEqual([]);
});

test("later layers are fetched while earlier ones are unpacked", async () => {
  const { manifest } = await image();
  const order: string[] = [];
  await unpack(manifest, {
    fetch: async (index) => void order.push(`fetch ${index}`),
    apply: async (index) => {
      await Bun.sleep(20);
      order.push(`applied ${index}`);
      return diffIds[index] ?? "";
    },
  });
  expect(order.indexOf("fetch 2")).toBeLessThan(order.indexOf("applied 0"));
});

test("a layer that is another than the configuration says is refused and leaves nothing", async () => {
  const { manifest, configuration } = await image();
  const snapshots = new FakeSnapshots();
  const apply = async (index: number): Promise<string> => (index === 1 ? digestOf("evil") : (diffIds[index] ?? ""));
  expect(await failure(unpack(manifest, { snapshots, apply }))).toBe(
    `wrong diff id calculated on extraction "${diffIds[1]}"`,
  );
  expect(snapshots.active.size).toBe(0);
  expect([...snapshots.committed.keys()]).toEqual([chain[0] ?? ""]);
  expect((await blobs.info(configuration.digest)).labels).toEqual({});
});

test("a failed fetch or apply is told, and its snapshot removed", async () => {
  const { manifest } = await image();
  const snapshots = new FakeSnapshots();
  const fetch = async (index: number): Promise<void> => {
    if (index === 2) throw notFound("no such blob: not found");
  };
  expect(await failure(unpack(manifest, { snapshots, fetch }))).toBe("no such blob: not found");
  expect(snapshots.active.size).toBe(0);
  const apply = (): Promise<string> => Promise.reject(new Error("disk on fire"));
  expect(await failure(unpack(manifest, { apply }))).toBe(`failed to extract layer ${diffIds[0]}: disk on fire`);
});

test("a configuration that does not fit its manifest is refused", async () => {
  const { manifest } = await image({ architecture: "amd64", os: "linux", rootfs: { diff_ids: ["sha256:a"] } });
  expect(await failure(unpack(manifest))).toBe("number of layers and diffIDs don't match: 3 != 1");
});

test("two that unpack the same image at once share the work", async () => {
  const { manifest } = await image();
  const snapshots = new FakeSnapshots();
  const locks = new KeyedLock();
  const apply = async (index: number): Promise<string> => {
    await Bun.sleep(5);
    return diffIds[index] ?? "";
  };
  const results = await Promise.all([1, 2, 3].map(() => unpack(manifest, { snapshots, locks, apply })));
  expect(results.flatMap(({ applied }) => applied)).toHaveLength(3);
  expect(snapshots.active.size).toBe(0);
});

test("who loses a race with another unpacker is content", async () => {
  const { manifest } = await image();
  const snapshots = new FakeSnapshots();
  const apply = async (index: number): Promise<string> => {
    snapshots.committed.set(chain[index] ?? "", chain[index - 1] ?? "");
    return diffIds[index] ?? "";
  };
  await unpack(manifest, { snapshots, apply });
  expect(snapshots.active.size).toBe(0);
  expect(snapshots.log.filter((entry) => entry === "remove")).toHaveLength(3);
});

test("a transfer that is cancelled leaves no snapshot behind", async () => {
  const { manifest } = await image();
  const snapshots = new FakeSnapshots();
  const controller = new AbortController();
  const apply = async (index: number): Promise<string> => {
    controller.abort(new Error("context canceled"));
    await Bun.sleep(5);
    return diffIds[index] ?? "";
  };
  expect(await failure(unpack(manifest, { snapshots, apply, signal: controller.signal }))).toBe("context canceled");
  expect(snapshots.active.size).toBe(0);
});
