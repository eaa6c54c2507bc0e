/** Layers applied and made by berthd and by containerd: the same files come out, and the same bytes. */

import { expect } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { attributeOf, attributesOf, namesIn, readSymlink, S, statusOfPath } from "../../shim/linux/index.ts";
import { archive, entry, long, pax } from "../lib/archive.ts";
import { Berthd, builtBerthd } from "../lib/berthd.ts";
import { Daemon } from "../lib/daemon.ts";
import { writeImageOf } from "../lib/layered-image.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";

/** Where with-containerd keeps the version that berthd says it is. */
const reference = join(process.env["CACHE_DIR"] ?? join(homedir(), ".cache/with-containerd"), "2.1/usr/bin");
const image = "localhost/berth-layers:latest";
const made = "localhost/berth-made:latest";
const tarType = "application/vnd.oci.image.layer.v1.tar";

/** containerd of that version, whatever the PATH has. */
class Reference extends Daemon {
  protected override command(): string[] {
    return [join(reference, "containerd"), ...super.command().slice(1)];
  }
}

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  if (!existsSync(builtBerthd)) return "berthd is not built";
  return existsSync(join(reference, "containerd")) ? undefined : "with-containerd has not fetched containerd 2.1";
}

const begun = Date.now() / 1000 - 10;
const capability = "\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const directory = (name: string, mode = 0o755, mtime = 1_000_000_000) =>
  entry({ name: `${name}/`, type: "5", mode, mtime });

const lower = archive(
  ...[
    directory("etc"),
    entry({ name: "etc/passwd", body: "root\n", mtime: 1000 }),
    entry({ name: "etc/group", mtime: 1000 }),
  ],
  ...[
    directory("usr", 0o1777, 5),
    directory("usr/bin"),
    entry({ name: "usr/bin/su", body: "su", mode: 0o4755, uid: 3, gid: 4 }),
  ],
  ...[entry({ name: "usr/bin/link", type: "1", target: "usr/bin/su", mode: 0o4755, uid: 3, gid: 4, mtime: 7 })],
  pax({ "SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.note": "n", mtime: "1500000000.25" }),
  ...[entry({ name: "usr/bin/ping", body: "ping", mode: 0o755 }), entry({ name: "lib", type: "2", target: "usr/lib" })],
  ...[entry({ name: "lib/through-a-link", body: "x" }), entry({ name: "fifo", type: "6", mode: 0o622 })],
  ...[
    entry({ name: "null", type: "3", major: 1, minor: 3, mode: 0o666 }),
    entry({ name: "disk", type: "4", major: 259, minor: 70_000 }),
  ],
  ...[pax({ uid: "3000000", gid: "3000001" }), entry({ name: "owned" })],
  ...[long("L", `${"long".repeat(30)}/${"name".repeat(30)}`), entry({ name: "cut", body: "long", format: "gnu" })],
  ...[
    entry({ name: "\xe4\xff" }),
    entry({ name: "old", mtime: -1, format: "gnu" }),
    entry({ name: "../../out", body: "stays" }),
  ],
  ...[directory("gone"), entry({ name: "gone/f" }), directory("emptied"), entry({ name: "emptied/f" })],
  ...[
    directory("twice"),
    entry({ name: "twice", body: "a file now", mtime: 1_000_000_000 }),
    entry({ name: "parents/that/nobody/brought" }),
  ],
);

const upper = archive(
  ...[
    entry({ name: ".wh.gone" }),
    directory("emptied"),
    entry({ name: "emptied/.wh..wh..opq" }),
    entry({ name: "emptied/new" }),
  ],
  ...[
    entry({ name: "etc/passwd", body: "root\nuser\n", mtime: 2000 }),
    directory("usr", 0o1777, 5),
    directory("usr/bin"),
    entry({ name: "usr/bin/.wh.su" }),
  ],
  ...[directory("fifo"), entry({ name: "fifo/f" }), entry({ name: "lib/shadows" }), directory("etc", 0o700, 9)],
);

/** What containerd and ctr do to a snapshot that is mounted on $1; all times are set. */
const script = `
  cd "$1"
  rm -rf etc/group usr/bin/link emptied; echo new > etc/new; echo more >> etc/passwd
  mkdir emptied; echo again > emptied/f
  mkdir -p a/b/c; echo x > a/b/c/f; ln a/b/c/f a/b/c/g; ln a/b/c/f a/hard; ln -s ../x a/sym
  rm -rf usr/bin; echo "now a file" > usr/bin
  mkfifo fifo2; mknod node c 10 229; rm twice; mkdir twice
  d=$(printf 'long%.0s' $(seq 20))/$(printf 'name%.0s' $(seq 20)); mkdir -p $d; echo l > $d/f
  echo u > $(printf '\\344\\377'); chmod 4711 owned; mkdir d-x d d.x; echo 1 > d-x/1; echo 1 > d/1; echo 1 > d.x/1
  ln -s $(printf 'target%.0s' $(seq 30)) longsym
  find . -newermt 2026-01-01 -exec touch -h -d @1600000000 {} +
`;

/** Everything that can be seen of a tree. */
function survey(path: string, shown = "."): string[] {
  const found: string[] = [];
  for (const name of namesIn(path)) {
    const child = `${path}/${name}`;
    const status = statusOfPath(child);
    if (status === undefined) continue;
    const type = status.mode & S.IFMT;
    const { mode, uid, gid, links, major, minor, size, modified } = status;
    const attributes = attributesOf(child).map(
      (key) => `${key}=${Buffer.from(attributeOf(child, key) ?? []).toString("hex")}`,
    );
    const content =
      type === S.IFREG
        ? Bun.hash(readFileSync(Buffer.from(child, "latin1")))
        : type === S.IFLNK
          ? readSymlink(child)
          : `${major}:${minor}`;
    const length = type === S.IFDIR ? 0 : size;
    found.push(
      [
        `${shown}/${name}`,
        mode.toString(8),
        uid,
        gid,
        type === S.IFDIR ? 0 : links,
        length,
        // The time of a whiteout, and of a directory that no layer brings, is when it was made.
        ...(modified.seconds > begun ? ["now"] : [modified.seconds, modified.nanoseconds]),
        content,
        ...attributes,
      ].join(" "),
    );
    if (type === S.IFDIR) found.push(...survey(child, `${shown}/${name}`));
  }
  return found;
}

/** The upper directories of all snapshots, in the order in which they were made. */
function snapshotDirectories(daemon: Daemon): string[] {
  const path = join(daemon.root, "io.containerd.snapshotter.v1.overlayfs/snapshots");
  return readdirSync(path)
    .sort((a, b) => Number(a) - Number(b))
    .map((id) => join(path, id, "fs"))
    .filter((fs) => existsSync(fs) && readdirSync(fs).length > 0);
}

testUnless(
  whyNot(),
  "layers become the same files under berthd and containerd, and the same changes become the same layer, which both take",
  async () => {
    const { dir, token } = processScope();
    const daemons = [new Reference(join(dir, "containerd"), token), new Berthd(join(dir, "berthd"), token)];
    const archivePath = join(dir, "layers.tar");
    writeImageOf(archivePath, image, [lower, upper]);
    const run = async (daemon: Daemon, ...args: string[]): Promise<string> => {
      const { exitCode, stdout, stderr } = await daemon.ctr(args);
      if (exitCode !== 0) throw new Error(`ctr ${args.join(" ")}: ${stderr}`);
      return stdout;
    };
    try {
      await Promise.all(daemons.map((daemon) => daemon.start()));
      const trees: string[][][] = [];
      const layers: Buffer[] = [];
      for (const daemon of daemons) {
        await run(daemon, "images", "import", "--snapshotter", "overlayfs", archivePath);
        trees.push(snapshotDirectories(daemon).map((path) => survey(path)));
        const list = await run(daemon, "snapshots", "--snapshotter", "overlayfs", "ls");
        const top =
          list
            .split("\n")
            .map((line) => line.split(/\s+/))
            .find(([, parent]) => parent?.startsWith("sha256:"))?.[0] ?? "";
        const mounts = await run(
          daemon,
          "snapshots",
          "--snapshotter",
          "overlayfs",
          "prepare",
          "--target",
          "TARGET",
          "work",
          top,
        );
        const point = join(daemon.dir, "mounted");
        mkdirSync(point);
        // In mounts of its own: whatever happens, nothing stays mounted.
        const shell = `set -e; mount --make-rprivate /; ${mounts.replaceAll("TARGET", '"$1"')}\n${script}`;
        const { exitCode, stderr } = Bun.spawnSync(["unshare", "-m", "bash", "-c", shell, "bash", point]);
        expect([exitCode, String(stderr)]).toEqual([0, ""]);
        const file = join(daemon.dir, "diff.tar");
        const { exitCode: status } = Bun.spawnSync(
          [
            "bash",
            "-c",
            'out="$1"; shift; "$@" > "$out"',
            "bash",
            file,
            ...daemon.ctrCommand(["snapshots", "--snapshotter", "overlayfs", "diff", "--media-type", tarType, "work"]),
          ],
          { env: daemon.ctrEnv() },
        );
        expect(status).toBe(0);
        layers.push(readFileSync(file));
      }
      const [expected = [], actual = []] = trees;
      expect(expected).toHaveLength(2);
      expect(actual).toEqual(expected);
      const [theirs, ours] = layers;
      expect(theirs?.length).toBeGreaterThan(5000);
      expect(ours?.equals(theirs ?? Buffer.alloc(0))).toBe(true);

      // containerd takes an image with the layer that berthd made.
      const madePath = join(dir, "made.tar");
      writeImageOf(madePath, made, [lower, upper, ours ?? Buffer.alloc(0)], "zstd");
      for (const daemon of daemons) await run(daemon, "images", "import", "--snapshotter", "overlayfs", madePath);
      const [first = [], second = []] = daemons.map((daemon) => survey(snapshotDirectories(daemon).at(-1) ?? ""));
      expect(first.length).toBeGreaterThan(20);
      expect(second).toEqual(first);
    } finally {
      for (const daemon of daemons) {
        await daemon.stop();
        daemon.remove();
      }
    }
  },
  60_000,
);
