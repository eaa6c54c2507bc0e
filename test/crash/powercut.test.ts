/**
 * The power is cut at random moments under load: what the disk has then is started from. No record is without its bytes,
 * no image says that it is complete and is not, and whatever berthd had said was done is there.
 *
 * BERTH_CUTS: how often (100; with BERTH_QUICK 10), BERTH_SEED: what chance begins with.
 */

import { afterAll, expect } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Berthd } from "../lib/berthd.ts";
import { GrpcClient } from "../lib/grpc.ts";
import { expectNoLeak, inventory } from "../lib/leak.ts";
import { whyNoContainers } from "../lib/paths.ts";
import { Random } from "../lib/random.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { type Layered, writeLayered } from "./archive.ts";
import { type CutMode, Disk, mountImage, whyNoDisk } from "./disk.ts";
import { Load, root, services, within } from "./load.ts";
import { broken, Model, type Promises } from "./model.ts";
import { check, survey } from "./survey.ts";

const cuts = Number(process.env["BERTH_CUTS"] ?? (process.env["BERTH_QUICK"] ? 10 : 100));
/** Cuts into the unpacking of a layer. */
const LAYER_CUTS = cuts > 10 ? 20 : 6;
const seed = Number(process.env["BERTH_SEED"] ?? 20_261_120);
const scope = processScope();

let disk: Disk | undefined;
let daemon: Berthd | undefined;
let load: Load | undefined;
let loads = 0;
/** Images that nothing but a cut is told of. */
const cutInto: Layered[] = [];
/** Starts that have taken layers back. */
let takenBack = 0;

afterAll(async () => {
  load?.close();
  if (daemon !== undefined) {
    if (!daemon.running) await daemon.start();
    const { stdout } = await daemon.ctr(["containers", "ls", "-q"]);
    for (const id of stdout.split("\n").filter((one) => one !== "")) {
      await daemon.ctr(["tasks", "delete", "--force", id]);
      await daemon.ctr(["containers", "delete", id]);
    }
    await daemon.stop();
  }
  await disk?.remove();
  const mine = new Set([...inventory(scope)].filter((item) => item.startsWith("descriptor")));
  const look = (): Set<string> => new Set([...inventory(scope, daemon)].filter((item) => !item.includes("/fifo/")));
  await expectNoLeak(mine, look, 10_000);
}, 120_000);

testUnless(
  whyNoContainers() ?? whyNoDisk(),
  `R25 R26 the power is cut at ${cuts} random moments under load (seed ${seed})`,
  async () => {
    expect(await cutUnderLoad(cuts, ["none", "some", "order"])).toEqual([]);
  },
  3_000_000,
);

testUnless(
  whyNoContainers() ?? whyNoDisk(),
  "R25 R26 the power is cut the moment a layer's commit is told: its snapshot is whole, or it is not there",
  async () => {
    const { daemon, disk } = await begin();
    // The load begins with the seed itself: these layers must be new.
    const random = new Random(seed + 1);
    const before = takenBack;
    for (let count = 1; count <= LAYER_CUTS; count++) {
      const archive = writeLayered(join(scope.dir, "layers"), `cut${count}`, random);
      cutInto.push(archive);
      const image = join(scope.dir, `layer-${count}.img`);
      const client = new GrpcClient(daemon.address);
      const ended = new AbortController();
      const options = { namespace: daemon.namespace, signal: ended.signal };
      const events = client.stream(services.events, "Subscribe", { filters: ['topic=="/snapshot/commit"'] }, options);
      const next = (): Promise<unknown> => within(events.next());
      const top = next().then(next);
      const imported = daemon.ctr(["images", "import", "--snapshotter", daemon.snapshotter, archive.path]);
      await top;
      disk.cut("none", count, image);
      ended.abort();
      await imported;
      client.close();
      expect(await look(image, `layer-${count}`, new Map())).toEqual([]);
    }
    console.log(`${LAYER_CUTS} cuts, layers taken back after ${takenBack - before}`);
    // Otherwise the disk is too fast for this test, and it has shown nothing.
    expect(takenBack).toBeGreaterThan(before);
  },
  600_000,
);

testUnless(
  whyNoContainers() ?? whyNoDisk(),
  "R25 R26 the power is cut the moment the blobs of an unpacked image are told to be gone: its layers are there",
  async () => {
    const { daemon, disk } = await begin();
    const random = new Random(seed + 2);
    const where = { namespace: daemon.namespace };
    for (let count = 1; count <= LAYER_CUTS; count++) {
      const archive = writeLayered(join(scope.dir, "layers"), `gone${count}`, random);
      cutInto.push(archive);
      const image = join(scope.dir, `gone-${count}.img`);
      await daemon.ctr(["images", "import", "--no-unpack", archive.path], { check: true });
      const client = new GrpcClient(daemon.address);
      const model = new Model();
      await model.change(`layers/${archive.name}`, "present", () => unpack(client, daemon, archive));
      await within(client.call(services.images, "Delete", { name: archive.name, sync: true }, where));
      disk.cut("none", count, image);
      client.close();
      for (const digest of archive.blobs)
        expect(existsSync(join(daemon.root, "io.containerd.content.v1.content/blobs/sha256", digest.slice(7)))).toBe(
          false,
        );
      expect(await look(image, `gone-${count}`, model.promises())).toEqual([]);
    }
  },
  600_000,
);

testUnless(
  whyNoContainers() ?? whyNoDisk(),
  "on a disk that lies about its flushes the test finds promises broken: it sees what it looks for",
  async () => {
    disk?.lie();
    const wrong = await cutUnderLoad(10, ["none"]);
    console.log(`found: ${wrong[0]}`);
    expect(wrong.length).toBeGreaterThan(0);
  },
  300_000,
);

/** The daemon on the disk that is cut. */
async function begin(): Promise<{ daemon: Berthd; disk: Disk }> {
  if (daemon === undefined || disk === undefined) {
    daemon = new Berthd(join(scope.dir, "d"), `${scope.token}-cut`);
    disk = new Disk(join(scope.dir, "disk"), 512 << 20);
    await disk.mount(daemon.root);
    await daemon.start();
    await daemon.importImage();
  }
  return { daemon, disk };
}

/** Unpacks an image by calls, as clients do, to snapshots that a label alone keeps. */
async function unpack(client: GrpcClient, { namespace, snapshotter }: Berthd, archive: Layered): Promise<void> {
  const where = { namespace };
  // Around them are the configuration and the manifest.
  for (const [at, digest] of archive.blobs.slice(1, -1).entries()) {
    const [name = "", parent = ""] = [archive.chain[at], archive.chain[at - 1]];
    const key = `extract-1-cut ${name}`;
    const { info } = await client.call(services.content, "Info", { digest }, where);
    const mediaType = "application/vnd.oci.image.layer.v1.tar+gzip";
    const { mounts } = await client.call(
      services.snapshots,
      "Prepare",
      { snapshotter, key, parent, labels: root },
      where,
    );
    await client.call(services.diff, "Apply", { diff: { mediaType, digest, size: info?.size ?? 0 }, mounts }, where);
    await client.call(services.snapshots, "Commit", { snapshotter, key, name, labels: root }, where);
  }
}

/** Cuts the power under load until something is wrong. Answers what is. */
async function cutUnderLoad(times: number, modes: readonly CutMode[]): Promise<string[]> {
  const random = new Random(seed);
  const model = new Model();
  const { daemon, disk } = await begin();
  load?.close();
  load = new Load({ daemon, model, random, workers: 3, tasks: true, prefix: `m${++loads}-` });
  const wrong: string[] = [];
  for (let count = 1; count <= times && wrong.length === 0; count++) {
    load.start();
    await Bun.sleep(random.between(50, 1_500));
    const image = join(scope.dir, `cut-${count}.img`);
    const promised = model.promises();
    disk.cut(random.of(modes), random.between(0, 1 << 30), image);
    const kept = model.untouched(promised);
    await load.stop();
    wrong.push(...(await look(image, count, kept)));
    for (const line of wrong) console.error(`cut ${count}: ${line}`);
    if (count % 10 === 0) console.log(`${count} cuts: ${model.done} calls done, ${kept.size} promises`);
  }
  console.log(`${times} cuts, ${model.done} calls done under them`);
  return wrong;
}

/** A berthd that takes this for another boot of the kernel, as it is after a power cut: it alone sees another boot id. */
class Rebooted extends Berthd {
  protected override command(): string[] {
    const path = join(this.dir, "boot_id");
    mkdirSync(this.dir, { recursive: true });
    writeFileSync(path, `${crypto.randomUUID()}\n`);
    const script = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"';
    return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, path, ...super.command()];
  }
}

/** Starts a daemon on what a cut has left, and says what is wrong there. */
async function look(image: string, count: number | string, promised: Promises): Promise<string[]> {
  // Tasks do not outlive a power cut; their containers do.
  const stored = new Map([...promised].filter(([key]) => !/^(running|ending)\//.test(key)));
  const after = new Rebooted(join(scope.dir, `after-${count}`), daemon?.namespace ?? "");
  const unmount = await mountImage(image, after.root);
  const client = new GrpcClient(after.address);
  const wrong: string[] = [];
  try {
    await after.start();
    const found = await survey(after, client, [...(load?.archives ?? []), ...cutInto], true);
    wrong.push(...found.wrong, ...broken(stored, found.there), ...(await check(after, true)));
    // It must go on from there.
    const where = { namespace: after.namespace };
    await within(client.call(services.leases, "Create", { id: `after-${count}` }, where));
    if (after.log().includes("are taken back")) takenBack++;
    const archive = cutInto.at(-1) ?? load?.archives[0];
    if (archive) {
      const again = await after.ctr(["images", "import", "--snapshotter", after.snapshotter, archive.path]);
      if (again.exitCode !== 0) wrong.push(`an image cannot be imported: ${again.stderr.trim()}`);
    }
  } catch (error) {
    wrong.push(`${(error as Error).message}`);
  } finally {
    client.close();
    await after.stop();
    if (wrong.length > 0) console.error(after.log().slice(-5_000));
    await unmount();
    after.remove();
  }
  return wrong;
}
