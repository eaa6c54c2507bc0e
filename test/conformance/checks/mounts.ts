/** The mounts of a container's root: what the shim makes of rootfs[], and what it leaves (contract 1.14). */

import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { equal, holds, matches, refused } from "../assert.ts";
import type { Section } from "../check.ts";
import type { Context } from "../rig/context.ts";
import { findMounts } from "../rig/machine.ts";
import { until } from "../rig/wait.ts";

/** A mount as containerd's overlay snapshotter answers it, with the rootfs as its only layer. */
function overlay(t: Context): { type: string; source: string; options: string[] } {
  const [upper, work] = [join(t.dir, "upper"), join(t.dir, "work")];
  for (const dir of [upper, work]) mkdirSync(dir, { recursive: true });
  const options = [`workdir=${work}`, `upperdir=${upper}`, `lowerdir=${t.subject.rootfs}`];
  return { type: "overlay", source: "overlay", options };
}

export const mounts: Section = {
  name: "mounts",
  checks: [
    {
      id: "UN-1.overlay",
      level: "must",
      title:
        "An overlay is mounted as containerd's snapshotter asks for it: what init writes is in its upper directory.",
      source: "core/mount/mount_linux.go; plugins/snapshots/overlay",
      body: async (t) => {
        const shim = await t.start(t.bundle({ args: t.ending("echo x >/written") }));
        await shim.task.create({ ...shim.createRequest(), rootfs: [overlay(t)] });
        await shim.task.start(shim.id);
        equal("the exit status", (await shim.task.wait(shim.id)).exitStatus, 0);
        holds("the file in the upper directory", existsSync(join(t.dir, "upper", "written")), "it is not there");
        await shim.task.delete(shim.id);
        equal("the mounts afterwards", findMounts(shim.bundle.path), []);
      },
    },
    {
      id: "UN-1.type",
      level: "must",
      title: "A type of mount that there is none of makes Create fail, and nothing is left.",
      source: "core/mount/mount_linux.go",
      body: async (t) => {
        const shim = await t.start(t.bundle());
        const rootfs = [{ type: "nosuchfs", source: t.subject.rootfs, options: [] }];
        const message = await refused(
          "Create",
          shim.task.create({ ...shim.createRequest(), rootfs }),
          ...[2, 3, 5, 9, 12, 13],
        );
        matches("the message", message, /no such device|nosuchfs|not supported/i);
        equal("the mounts afterwards", findMounts(shim.bundle.path), []);
      },
    },
    {
      id: "UN-2.ro",
      level: "must",
      title: "A bind mount that has `ro` among its options keeps init from writing.",
      source: "core/mount/mount_linux.go (remount of bind mounts)",
      body: async (t) => {
        const shim = await t.start(t.bundle({ args: t.ending(`echo x >/etc/${t.token}`) }));
        const rootfs = [{ type: "bind", source: t.subject.rootfs, options: ["rbind", "ro"] }];
        await shim.task.create({ ...shim.createRequest(), rootfs });
        await shim.task.start(shim.id);
        equal("the exit status", (await shim.task.wait(shim.id)).exitStatus, 1);
      },
    },
    {
      id: "UN-2.loop",
      level: "must",
      title: "A mount that has `loop` among its options mounts a file, and Delete gives the loop device back.",
      source: "core/mount/losetup_linux.go",
      body: async (t) => {
        const image = join(t.dir, "root.ext4");
        const made = Bun.spawnSync([
          "sh",
          "-c",
          'truncate -s 16M "$1" && mkfs.ext4 -q -d "$2" "$1"',
          "sh",
          image,
          t.subject.rootfs,
        ]);
        if (made.exitCode !== 0) return t.skip(`mkfs.ext4: ${made.stderr.toString().trim()}`);
        const attached = (): string => Bun.spawnSync(["losetup", "-j", image]).stdout.toString().trim();
        const probe = Bun.spawnSync(["losetup", "--find"]);
        if (probe.exitCode !== 0) return t.skip(`losetup --find: ${probe.stderr.toString().trim()}`);
        t.defer(() => {
          for (const [device] of attached().matchAll(/^\/dev\/loop\d+/gm)) Bun.spawnSync(["losetup", "-d", device]);
        });
        const shim = await t.start(t.bundle({ args: t.ending("exit 5") }));
        const rootfs = [{ type: "ext4", source: image, options: ["loop"] }];
        await shim.task.create({ ...shim.createRequest(), rootfs });
        await shim.task.start(shim.id);
        equal("the exit status", (await shim.task.wait(shim.id)).exitStatus, 5);
        await shim.task.delete(shim.id);
        await until("the loop device to be free", () => attached() === "", { timeout: 3000, received: attached });
      },
    },
    {
      id: "UN-2.layers",
      level: "must",
      title: "An overlay of 60 layers, whose options are longer than a page, is mounted.",
      source: "core/mount/mount_linux.go (optionsSize)",
      body: async (t) => {
        // A long path that all have in common, as below a snapshotter's root: containerd changes into it.
        const layers = join(t.dir, "x".repeat(100));
        const lower = Array.from({ length: 60 }, (_, n) => join(layers, String(n)));
        for (const dir of [...lower, join(t.dir, "upper"), join(t.dir, "work")]) mkdirSync(dir, { recursive: true });
        symlinkSync(t.subject.rootfs, join(layers, "root"));
        const lowerdir = `lowerdir=${[...lower, join(layers, "root")].join(":")}`;
        const options = [lowerdir, `upperdir=${join(t.dir, "upper")}`, `workdir=${join(t.dir, "work")}`];
        holds("options longer than a page", options.join(",").length > 4096, options.join(",").length);
        const shim = await t.start(t.bundle({ args: t.ending("exit 5") }));
        await shim.task.create({ ...shim.createRequest(), rootfs: [{ type: "overlay", source: "overlay", options }] });
        await shim.task.start(shim.id);
        equal("the exit status", (await shim.task.wait(shim.id)).exitStatus, 5);
        await shim.task.delete(shim.id);
        equal("the mounts afterwards", findMounts(shim.bundle.path), []);
      },
    },
    {
      id: "UN-3.nested",
      level: "must",
      title: "Delete unmounts what somebody has mounted below the rootfs.",
      source: "core/mount/mount_linux.go (UnmountRecursive)",
      body: async (t) => {
        // An overlay is nobody else's: what is mounted in a bind would come up in every other one of a shared mount.
        const shim = await t.start(t.bundle());
        await shim.task.create({ ...shim.createRequest(), rootfs: [overlay(t)] });
        await shim.task.start(shim.id);
        const path = join(shim.bundle.path, "rootfs", "tmp");
        const { exitCode, stderr } = Bun.spawnSync(["mount", "-t", "tmpfs", "tmpfs", path]);
        if (exitCode !== 0) return t.skip(stderr.toString());
        await shim.kill();
        await shim.task.delete(shim.id);
        equal("the mounts afterwards", findMounts(shim.bundle.path), []);
      },
    },
  ],
};
