/** A large image: imported, exported, pulled, each time from nothing. */

import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { largeImageName, writeLargeImage } from "../../lib/large-image.ts";
import { Registry } from "../../lib/registry.ts";
import { inTurns } from "../turns.ts";
import type { Bench, Subject } from "./rig.ts";

/** Writes the archive of the large image, once for a run. */
function archiveOf({ rig, scale, say }: Bench): string {
  const path = join(rig.disk.dir, "large.tar");
  if (!existsSync(path)) {
    say(`making an image of ${Math.round(scale.imageBytes / 1e6)} MB and ${scale.imageFiles} files`);
    writeLargeImage(path, { bytes: scale.imageBytes, files: scale.imageFiles });
  }
  return path;
}

function importImage({ rig }: Bench, subject: Subject, archive: string): Promise<{ seconds: number }> {
  return rig.ctr(subject, ["images", "import", "--snapshotter", subject.daemon.snapshotter, archive]);
}

/** Removes an image and waits for its blobs and snapshots to go, also from the disk: that is not to delay what comes next. */
async function remove({ rig }: Bench, subject: Subject, name: string): Promise<number> {
  const { seconds } = await rig.ctr(subject, ["images", "rm", "--sync", name]);
  const files = (): number => Number(Bun.spawnSync(["sh", "-c", `find ${subject.daemon.root} | wc -l`]).stdout);
  for (let [before, now] = [Number.NaN, files()]; before !== now; [before, now] = [now, files()]) await Bun.sleep(500);
  await rig.settle();
  return seconds;
}

/** `ctr images import` with unpacking, `ctr images export`, `ctr images rm --sync`. */
export async function measureImport(bench: Bench): Promise<void> {
  const { subjects, scale, samples, rig } = bench;
  const archive = archiveOf(bench);
  const target = join(rig.disk.dir, "exported.tar");
  await inTurns(subjects, scale.imagePairs, async (subject, record) => {
    await rig.settle();
    const imported = await importImage(bench, subject, archive);
    await rig.settle();
    const exported = await rig.ctr(subject, ["images", "export", target, largeImageName]);
    rmSync(target);
    const removed = await remove(bench, subject, largeImageName);
    if (!record) return;
    samples.add("import", subject.name, imported.seconds);
    samples.add("export", subject.name, exported.seconds);
    samples.add("remove", subject.name, removed);
  });
}

/** `ctr images pull` from a registry on loopback, with unpacking. @throws Error where there is no registry to be had */
export async function measurePull(bench: Bench): Promise<void> {
  const { subjects, scale, samples, rig } = bench;
  const [reference] = subjects;
  if (reference === undefined) return;
  const registry = new Registry(join(rig.disk.dir, "registry"));
  const why = await registry.start();
  if (why !== undefined) throw new Error(why);
  try {
    const name = `${registry.host}/large:latest`;
    await importImage(bench, reference, archiveOf(bench));
    await rig.ctr(reference, ["images", "push", "--plain-http", name, largeImageName]);
    await remove(bench, reference, largeImageName);
    await inTurns(subjects, scale.imagePairs, async (subject, record) => {
      const flags = ["--plain-http", "--snapshotter", subject.daemon.snapshotter];
      const { seconds } = await rig.ctr(subject, ["images", "pull", ...flags, name]);
      await remove(bench, subject, name);
      if (record) samples.add("pull", subject.name, seconds);
    });
  } finally {
    registry.stop();
  }
}
