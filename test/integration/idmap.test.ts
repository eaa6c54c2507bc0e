/**
 * Containers in user namespaces of their own, whose snapshots containerd 2 hands to the shim as mounts with mapped ids
 * (UN-2): beside containerd's own shim, by the same ctr.
 */

import { expect } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { Berthd, testsBerthd } from "../lib/berthd.ts";
import { Daemon } from "../lib/daemon.ts";
import { imageName } from "../lib/image.ts";
import { pathWithDist, runtime } from "../lib/paths.ts";
import { containerSuite } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

/** Where with-containerd keeps the first version whose snapshotter does not copy an image to give it other owners. */
const cached = join(process.env["CACHE_DIR"] ?? join(homedir(), ".cache/with-containerd"), "2.1/usr/bin");

/** The directory of a containerd 2 and its ctr: the PATH's, or else the one that with-containerd has fetched. */
function findPrograms(): string | undefined {
  const own = Bun.which("containerd");
  const version = own === null ? "" : Bun.spawnSync([own, "--version"]).stdout.toString();
  if (own !== null && / v?2\./.test(version)) return join(own, "..");
  return existsSync(join(cached, "containerd")) ? cached : undefined;
}
const programs = findPrograms();

function whyNot(): string | undefined {
  if (programs === undefined) return "neither the PATH nor with-containerd has a containerd 2";
  const [major = 0, minor = 0] = readFileSync("/proc/sys/kernel/osrelease", "utf8").split(".").map(Number);
  return major > 5 || (major === 5 && minor >= 19) ? undefined : "needs Linux 5.19";
}

/** The containerd 2 that was found, with its own shim. */
class Containerd2 extends Daemon {
  protected override command(): string[] {
    return programs === undefined ? super.command() : [join(programs, "containerd"), ...super.command().slice(1)];
  }
  override ctrCommand(args: readonly string[]): string[] {
    return ctr2(super.ctrCommand(args));
  }
}

/** berthd, asked by the ctr of that containerd. */
class BerthdByCtr2 extends Berthd {
  override ctrCommand(args: readonly string[]): string[] {
    return ctr2(super.ctrCommand(args));
  }
}

function ctr2(command: string[]): string[] {
  return programs === undefined ? command : [join(programs, "ctr"), ...command.slice(1)];
}

const env = programs === undefined ? {} : { PATH: `${programs}:${pathWithDist()}` };
const suite = containerSuite({ env }, (dir, namespace, options) =>
  testsBerthd ? new BerthdByCtr2(dir, namespace, options) : new Containerd2(dir, namespace, options),
);

const maps = ["--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536", "--remap-labels"];
const script = [
  "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map",
  "stat -c '%u:%g %a %n' /bin /bin/busybox /etc/passwd /tmp",
  "echo mine > /etc/new; echo more >> /etc/passwd; chown 1000:1000 /etc/new; rm /etc/group; mkdir /tmp/d",
  "stat -c '%u:%g %a %n' /etc/new /etc/passwd /tmp/d; test -e /etc/group || echo gone; tail -n 1 /etc/passwd",
].join("; ");

/** Mount points of the machine below a directory. */
function mountsBelow(directory: string): string[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return lines.map((line) => line.split(" ")[4] ?? "").filter((path) => path.startsWith(`${directory}/`));
}

suite.test(
  "UN-2 in a user namespace root owns the image, can write, and says the same as under containerd's own shim",
  async ({ daemon, id }) => {
    const said: string[] = [];
    for (const name of [runtime, "io.containerd.runc.v2"]) {
      const args = ["run", "--rm", "--runtime", name, "--fifo-dir", daemon.fifoDir, ...maps];
      const { stdout, stderr } = await daemon.ctr([...args, imageName, id(), "sh", "-c", script], { check: true });
      expect(stderr).toBe("");
      said.push(stdout);
      expect(mountsBelow(daemon.dir)).toEqual([]);
    }
    expect(said[0]).toContain("0:0 755 /bin/busybox\n");
    expect(said[0]).toContain("1000:1000 644 /etc/new\n");
    expect(said[0]).toEndWith("gone\nmore\n");
    expect(said[0]).toBe(said[1] ?? "");
  },
  { skip: whyNot() },
);

suite.test(
  "UN-2 outside the files belong to the mapped ids, and the image's own stay as they are",
  async ({ daemon, id, tasks }) => {
    const c = id();
    await daemon.runDetached(c, ["sh", "-c", "echo x > /etc/outside; exec sleep 1000"], ["--null-io", ...maps]);
    const rootfs = join(daemon.bundle(c), "rootfs");
    const owner = (path: string): number[] => [statSync(path).uid, statSync(path).gid];
    expect(owner(join(rootfs, "bin/busybox"))).toEqual([100000, 200000]);
    expect(mountsBelow(daemon.dir)).toEqual([rootfs]);
    const snapshots = join(daemon.root, "io.containerd.snapshotter.v1.overlayfs/snapshots");
    const files = readdirSync(snapshots).map((name) => join(snapshots, name, "fs"));
    await waitFor("the container to write", () => existsSync(join(rootfs, "etc/outside")));
    const written = files.map((path) => join(path, "etc/outside")).filter((path) => existsSync(path));
    expect(written.map(owner)).toEqual([[100000, 200000]]);
    const image = files.filter((path) => existsSync(join(path, "bin/busybox")));
    expect(image.map((path) => owner(join(path, "bin/busybox")))).toEqual([[0, 0]]);
    expect((await daemon.exec(c, ["stat", "-c", "%u:%g", "/etc/outside"], [], { check: true })).stdout).toBe("0:0\n");
    await tasks.killAndFinish(c);
  },
  { skip: whyNot() },
);

suite.test(
  "UN-2 several ranges, and a read-only view of an image with one layer",
  async ({ daemon, id }) => {
    const several = ["--uidmap", "0:100000:1000", "--uidmap", "1000:300000:1000"];
    const groups = ["--gidmap", "0:200000:1000", "--gidmap", "1000:400000:1000", "--remap-labels"];
    const owned = "stat -c '%u:%g' /bin/busybox; touch /x 2>/dev/null || echo refused";
    const flags = ["--rm", ...several, ...groups];
    expect((await daemon.run(id(), ["sh", "-c", owned], flags, { check: true })).stdout).toBe("0:0\n");
    const readOnly = await daemon.run(id(), ["sh", "-c", owned], [...flags, "--read-only"], { check: true });
    expect(readOnly.stdout).toBe("0:0\nrefused\n");
  },
  { skip: whyNot() },
);
