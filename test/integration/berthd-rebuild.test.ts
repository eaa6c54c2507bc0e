/** A database that is damaged or lost, under containers that run: berthd starts, says what it rebuilt, and loses none. */

import { expect } from "bun:test";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Berthd, builtBerthd } from "../lib/berthd.ts";
import { imageName } from "../lib/image.ts";
import { whyNoContainers } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";

const impossible = whyNoContainers() ?? (existsSync(builtBerthd) ? undefined : "berthd is not built");
let count = 0;

/** A daemon with a container `c1` that runs; it and the container are gone afterwards. */
async function withContainer(body: (daemon: Berthd, database: string) => Promise<void>): Promise<void> {
  const { dir, token } = processScope();
  const name = `rebuild${++count}`;
  const daemon = new Berthd(join(dir, name), `${token}-${name}`);
  await daemon.start();
  try {
    await daemon.importImage();
    await daemon.runDetached("c1", ["sleep", "1000"]);
    await body(daemon, join(daemon.root, "berth.db"));
    expect(await daemon.status("c1")).toBe("RUNNING");
    const { stdout } = await daemon.exec("c1", ["cat", "/proc/1/comm"], [], { check: true });
    expect(stdout.trim()).toBe("sleep");
    const { stdout: spec } = await daemon.ctr(["containers", "info", "--spec", "c1"], { check: true });
    expect(spec).toContain("sleep");
    // Its files are still there to be written, and a snapshot of its own can be made over them.
    await daemon.exec("c1", ["sh", "-c", "echo kept >/kept && cat /kept"], [], { check: true });
    expect((await daemon.ctr(["snapshots", "ls"], { check: true })).stdout).toMatch(/^c1\s+\S+\s+Active/m);
  } finally {
    if (!daemon.running) await daemon.start();
    await daemon.ctr(["tasks", "rm", "--force", "c1"]);
    await daemon.ctr(["containers", "rm", "c1"]);
    await daemon.stop();
    daemon.remove();
  }
}

const isMovedAside = (daemon: Berthd): boolean =>
  readdirSync(daemon.root).some((file) => file.startsWith("berth.db.damaged-"));

testUnless(
  impossible,
  "R26 a database whose first pages are overwritten comes back from the copy of the last stop, with the image",
  () =>
    withContainer(async (daemon, database) => {
      await daemon.restart();
      await daemon.kill();
      rmSync(`${database}-wal`, { force: true });
      writeFileSync(database, Buffer.alloc(20_000, 0x5a), { flag: "r+" });
      await daemon.start();
      expect(daemon.log()).toMatch(/the database was built anew.* images=1 .*containers=1/);
      expect(isMovedAside(daemon)).toBe(true);
      const { stdout } = await daemon.ctr(["images", "check"], { check: true });
      expect(stdout).toMatch(new RegExp(`^${imageName}.* complete .* true`, "m"));
      await daemon.run("again", ["true"]).then(({ exitCode }) => expect(exitCode).toBe(0));
    }),
  60_000,
);

testUnless(
  impossible,
  "R26 with database and copy lost, containers come back from bundles, snapshots from what is mounted, images by name",
  () =>
    withContainer(async (daemon, database) => {
      await daemon.restart();
      await daemon.kill();
      for (const file of readdirSync(daemon.root)) {
        if (file.startsWith("berth.db")) rmSync(join(daemon.root, file));
      }
      writeFileSync(database, "");
      await daemon.start();
      expect(daemon.log()).toMatch(/the database was built anew.* images=1 blobs=3 snapshots=2 containers=1/);
      const { stdout } = await daemon.ctr(["images", "check"], { check: true });
      expect(stdout).toMatch(new RegExp(`^${imageName}.* complete `, "m"));
    }),
  60_000,
);
