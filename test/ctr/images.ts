/** The rows about images, content, snapshots and leases. */

import { run } from "../lib/command.ts";
import { names, type writeArchives } from "./archives.ts";
import type { Comparison } from "./compare.ts";
import type { Rule } from "./normalise.ts";
import type { Side } from "./side.ts";

type Archives = ReturnType<typeof writeArchives>;

/** What a transfer shows while it runs depends on how fast it is: of each thing, the last word alone counts. */
const lastWords = (stdout: string): string => {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: moves of the cursor
  const plain = stdout.replace(/\x1b\[[0-9;?]*[A-Za-z]/g, "\n").replaceAll("\r", "\n");
  const last = new Map<string, string>();
  for (const line of plain.split("\n")) {
    if (line.trim() === "") continue;
    const key = line
      .trim()
      .split(/[\s:]+/)
      .slice(0, 2)
      .join(" ");
    last.set(/^(elapsed|unpacking)/.test(key) ? (key.split(" ")[0] ?? key) : key, line);
  }
  return [...last.values()]
    .map((line) => line.replace(/\|[+-]*\||total: .*$/g, "").replace(/:\s+(?:done|exists)\b/, ": there"))
    .sort()
    .join("\n");
};

/** `application/...tar+gzip sha256:... 123`: what a differ makes of a tree depends on its compressor. */
const anyDigest: Rule = [/sha256:[0-9a-f]{64}/g, "sha256:DIGEST"];

/** Labels come in the order of a Go map. */
const inspected = { unordered: true, rules: [[/,$/gm, ""] as Rule] };

/** A push ends without waiting for the last word on everything: what is pushed counts. */
const pushed = (stdout: string): string =>
  lastWords(stdout)
    .split("\n")
    .map((line) => /(?:index|manifest|config|layer)-sha256:[0-9a-f]{64}/.exec(line)?.[0] ?? "")
    .filter((name) => name !== "")
    .sort()
    .join("\n");

const firstDigest = (stdout: string): string => /sha256:[0-9a-f]{64}/.exec(stdout)?.[0] ?? "sha256:none";

/** Images that later rows need, and every command that makes, shows and removes them. */
export async function images(t: Comparison, archives: Archives): Promise<void> {
  const snapshotter = (side: Side): string => side.daemon.snapshotter;
  await t.row("images import", async () => {
    for (const name of ["busybox", "layers", "docker"] as const)
      await t.ctr((s) => ["images", "import", "--snapshotter", snapshotter(s), archives[name]], { view: lastWords });
    await t.ctr(["images", "import", "--no-unpack", "--all-platforms", archives.platforms], { view: lastWords });
    await t.ctr(["images", "import", "--digests", "--base-name", "example.com/named", archives.busybox], {
      view: lastWords,
    });
    await t.ctr(["images", "import", "/does/not/exist.tar"]);
    await t.ctr(["images", "import", "/etc/passwd"]);
  });
  if (t.atLeast("1.7")) {
    await t.row("images import --local", async () => {
      await t.ctr(["images", "import", "--local", archives.busybox], { view: lastWords });
      await t.ctr(["images", "import", "--local", "--index-name", "example.com/indexed:1", archives.layers], {
        view: lastWords,
      });
    });
  }
  await t.row("images ls", async () => {
    await t.ctr(["images", "ls"]);
    await t.ctr(["images", "ls", "-q"]);
    await t.ctr(["images", "ls", "name~=layers"]);
    await t.ctr(["images", "ls", `name==${names.busybox}`]);
    await t.ctr(["images", "ls", "labels.none"]);
    await t.ctr(["images", "ls", "name~~["]);
  });
  await t.row("images check", async () => {
    await t.ctr((s) => ["images", "check", "--snapshotter", snapshotter(s)]);
    await t.ctr(["images", "check", "-q"]);
    await t.ctr(["images", "check", `name==${names.platforms}`]);
  });
  if (t.atLeast("1.7")) {
    await t.row("images usage", async () => {
      await t.ctr(["images", "usage", names.busybox]);
      await t.ctr(["images", "usage", "--snapshotter", "overlayfs", names.layers]);
      await t.ctr(["images", "usage", "example.com/none:1"]);
    });
  }
  if (t.atLeast("2.1")) {
    await t.row("images inspect", async () => {
      await t.ctr(["images", "inspect", names.layers], inspected);
      await t.ctr(["images", "inspect", "--content", names.platforms], inspected);
      await t.ctr(["images", "inspect", "example.com/none:1"]);
    });
  }
  await t.row("images tag", async () => {
    await t.ctr(["images", "tag", names.busybox, "example.com/tagged:1"]);
    await t.ctr(["images", "tag", names.busybox, "example.com/tagged:1"]);
    await t.ctr(["images", "tag", "--force", names.layers, "example.com/tagged:1"]);
    await t.ctr(["images", "tag", "example.com/none:1", "example.com/never:1"]);
    await t.ctr(["images", "ls", "name~=tagged"]);
  });
  await t.row("images label", async () => {
    await t.ctr(["images", "label", names.busybox, "colour=blue", "empty="]);
    await t.ctr(["images", "label", "--replace-all", "example.com/tagged:1", "only=this"]);
    await t.ctr(["images", "label", "example.com/none:1", "a=b"]);
    await t.ctr(["images", "label", names.busybox, `long=${"x".repeat(5000)}`]);
    await t.ctr(["images", "ls", "labels.colour==blue"]);
  });
  await t.row("images export", async () => {
    await t.ctr((s) => ["images", "export", s.file("out.tar"), names.busybox, names.docker], { view: lastWords });
    await t.ctr((s) => ["images", "export", "--all-platforms", s.file("all.tar"), names.platforms], {
      view: lastWords,
    });
    await t.ctr((s) => ["images", "export", s.file("none.tar"), "example.com/none:1"], { view: lastWords });
    for (const [file, flags, images] of [
      ["out.tar", [], [names.busybox, names.docker]],
      ["all.tar", ["--all-platforms"], [names.platforms]],
    ] as const) {
      await t.expectEqual(`the archive ${file}`, async (s) => {
        // ctr 2.1 may end before the last of the stream is in its file, whichever daemon it has it from.
        for (let tries = 0; tries < 10 && !(await listing(s.file(file))).includes("oci-layout"); tries++) {
          await s.ctr(["images", "export", ...flags, s.file(file), ...images]);
        }
        return await listing(s.file(file));
      });
    }
  });
  await t.row("images convert", async () => {
    await t.ctr(["images", "convert", "--uncompress", names.layers, "example.com/converted:1"], { rules: [anyDigest] });
    await t.ctr(["images", "convert", "--oci", names.docker, "example.com/oci:1"], { rules: [anyDigest] });
    await t.ctr(["images", "convert", "example.com/none:1", "example.com/never:1"]);
    await t.ctr(["images", "ls", "name~=converted|oci"]);
  });
  await t.row("images mount, unmount", async () => {
    await t.ctr((s) => ["images", "mount", names.layers, s.file("mnt")], {});
    await t.expectEqual("what is mounted", (s) => tree(s.file("mnt")));
    await t.ctr(["snapshots", "ls"], {});
    await t.ctr((s) => ["images", "unmount", s.file("mnt")]);
    await t.ctr((s) => ["images", "mount", "--rw", names.busybox, s.file("rw")]);
    await t.ctr((s) => ["images", "unmount", "--rm", s.file("rw")]);
    await t.ctr((s) => ["images", "mount", "example.com/none:1", s.file("never")]);
    await t.ctr((s) => ["snapshots", "rm", s.file("mnt")]);
    await t.ctr(["snapshots", "ls"]);
  });
  await t.row("images rm", async () => {
    await t.ctr(["images", "rm", "--sync", "example.com/converted:1", "example.com/none:1"]);
    await t.ctr(["images", "rm", "example.com/none:2"]);
    await t.ctr(["images", "rm", "--sync", "example.com/oci:1"]);
    await t.ctr(["images", "ls", "-q"]);
    await t.ctr(["content", "ls", "-q"]);
  });
}

/** Content, by its own commands. */
export async function content(t: Comparison): Promise<void> {
  const body = "bytes of a blob\n".repeat(1000);
  const digest = `sha256:${new Bun.CryptoHasher("sha256").update(body).digest("hex")}`;
  await t.row("content ingest", async () => {
    await t.ctr(["content", "ingest", "plain"], { stdin: body });
    await t.ctr(["content", "ingest", "plain"], { stdin: body });
    const expected = ["--expected-size", String(body.length), "--expected-digest", digest];
    await t.ctr(["content", "ingest", ...expected, "expected"], { stdin: body });
    await t.ctr(["content", "ingest", "--expected-size", "5", "short"], { stdin: "123" });
    await t.ctr(["content", "ingest", "--expected-digest", digest, "wrong"], { stdin: "other bytes" });
    await t.ctr(["content", "ingest", "empty"], { stdin: "" });
    const empty = new Bun.CryptoHasher("sha256").digest("hex");
    await t.ctr(["content", "label", `sha256:${empty}`, "containerd.io/gc.root=yes"]);
  });
  await t.row("content active", async () => {
    await t.ctr(["content", "active"]);
    await t.ctr(["content", "active", "--root", "/does/not/exist"]);
  });
  await t.row("content ls", async () => {
    await t.ctr(["content", "ls"]);
    await t.ctr(["content", "ls", "-q"]);
    await t.ctr(["content", "ls", 'labels."containerd.io/uncompressed"']);
    await t.ctr(["content", "ls", `digest==${digest}`]);
    await t.ctr(["content", "ls", "size>10"]);
  });
  await t.row("content get", async () => {
    await t.ctr(["content", "get", digest]);
    await t.ctr(["content", "get", `sha256:${"0".repeat(64)}`]);
    await t.ctr(["content", "get", "no-digest"]);
  });
  await t.row("content label", async () => {
    await t.ctr(["content", "label", digest, "colour=red", "containerd.io/gc.root=yes"]);
    await t.ctr(["content", "label", digest, "colour="]);
    await t.ctr(["content", "label", `sha256:${"0".repeat(64)}`, "a=b"]);
    await t.ctr(["content", "ls", "labels.colour"]);
    await t.ctr(["content", "ls", `digest==${digest}`]);
  });
  await t.row("content edit", async () => {
    const edited = await t.ctr(["content", "edit", "--editor", "sed -i s/bytes/words/", digest]);
    await t.ctr(["content", "label", edited[0]?.stdout.trim() ?? "", "containerd.io/gc.root=yes"]);
    await t.ctr(["content", "edit", "--editor", "true", `sha256:${"0".repeat(64)}`]);
  });
  await t.row("content rm", async () => {
    await t.ctr(["content", "rm", digest]);
    await t.ctr(["content", "rm", digest]);
    await t.ctr(["content", "rm", "no-digest"]);
    await t.ctr(["content", "ls", "-q"]);
  });
}

/** Snapshots, by their own commands. */
export async function snapshots(t: Comparison): Promise<void> {
  let top = "";
  await t.row("snapshots ls", async () => {
    const [a] = await t.ctr(["snapshots", "ls"]);
    top =
      (a?.stdout ?? "")
        .split("\n")
        .slice(1)
        .map((line) => line.split(/\s+/)[0] ?? "")
        .find((key) => key.startsWith("sha256:")) ?? "";
    await t.ctr(["snapshots", "ls", "kind==committed"]);
  });
  await t.row("snapshots tree", async () => {
    await t.ctr(["snapshots", "tree"]);
  });
  await t.row("snapshots prepare", async () => {
    await t.ctr(["snapshots", "prepare", "work", top]);
    await t.ctr(["snapshots", "prepare", "work", top]);
    await t.ctr(["snapshots", "prepare", "alone"]);
    await t.ctr(["snapshots", "prepare", "orphan", "no-such-parent"]);
    await t.ctr(["snapshots", "prepare", "orphan", "work"]);
    await t.ctr((s) => ["snapshots", "prepare", "-t", s.file("target"), "shown", top]);
    if (t.atLeast("1.6")) await t.ctr(["snapshots", "prepare", "--mounts", "json", top]);
  });
  await t.row("snapshots view", async () => {
    await t.ctr(["snapshots", "view", "seen", top]);
    await t.ctr((s) => ["snapshots", "view", "-t", s.file("target"), "bare"]);
    await t.ctr(["snapshots", "view", "seen", top]);
    // Nothing refers to them: without this they go with the next garbage.
    for (const key of ["seen", "bare"]) await t.ctr(["snapshots", "label", key, "containerd.io/gc.root=yes"]);
  });
  await t.row("snapshots mounts", async () => {
    for (const key of ["work", "alone", "seen", "none"]) await t.ctr(["snapshots", "mounts", "/mnt", key]);
    await t.ctr(["snapshots", "mounts", "/mnt", top]);
  });
  await t.row("snapshots usage", async () => {
    await t.both(async (s) => await write(s, "alone", "file", "some bytes\n"), "write a file");
    await t.ctr(["snapshots", "usage"]);
    await t.ctr(["snapshots", "usage", "-b", "alone"]);
    await t.ctr(["snapshots", "usage", "none"]);
  });
  await t.row("snapshots commit", async () => {
    await t.ctr(["snapshots", "commit", "done", "alone"]);
    await t.ctr(["snapshots", "commit", "done", "work"]);
    await t.ctr(["snapshots", "commit", "never", "none"]);
    await t.ctr(["snapshots", "commit", "never", "seen"]);
    await t.ctr(["snapshots", "prepare", "next", "done"]);
    await t.both(async (s) => await write(s, "next", "second", "more\n"), "write a file");
  });
  await t.row("snapshots info", async () => {
    for (const key of ["done", "work", "seen", "none"]) await t.ctr(["snapshots", "info", key]);
  });
  await t.row("snapshots label", async () => {
    await t.ctr(["snapshots", "label", "done", "colour=green", "other=x"]);
    await t.ctr(["snapshots", "label", "done", "other="]);
    await t.ctr(["snapshots", "label", "none", "colour=green"]);
    await t.ctr(["snapshots", "ls", "labels.colour==green"]);
  });
  await t.row(
    "snapshots diff",
    async () => {
      const plain = ["snapshots", "diff", "--media-type", "application/vnd.oci.image.layer.v1.tar", "next"];
      await t.expectEqual("the members of the layer", async (s) => {
        // Through a file: it is no text.
        const argv = ["sh", "-c", 'out=$1; shift; exec "$@" > "$out"', "sh", s.file("layer.tar"), ...s.command(plain)];
        const { exitCode, stderr } = await run(argv, { env: s.env });
        return `${exitCode} ${stderr} ${await listing(s.file("layer.tar"))}`;
      });
      await t.ctr(["snapshots", "diff", "--keep", "--ref", "kept", "next"], { view: () => "" });
      // How it is compressed is the compressor's: away with it, so that later lists are the same.
      for (const side of t.sides) {
        const kept = await side.ctr(["content", "ls", "-q", 'labels."containerd.io/gc.root"']);
        const all = await side.ctr(["content", "ls", 'labels."containerd.io/uncompressed"']);
        const digests = kept.stdout.split("\n").filter((digest) => digest !== "" && all.stdout.includes(digest));
        if (digests.length > 0) await side.ctr(["content", "rm", ...digests]);
      }
      await t.ctr(["snapshots", "diff", "none"]);
      await t.ctr(["snapshots", "diff", "next", "none"]);
    },
    { rules: [anyDigest] },
  );
  await t.row("snapshots unpack", async () => {
    const list = await Promise.all(t.sides.map((s) => s.ctr(["images", "ls", `name==${names.platforms}`])));
    await t.ctr((s) => ["snapshots", "unpack", firstDigest(list[t.sides.indexOf(s)]?.stdout ?? "")]);
    await t.ctr(["snapshots", "unpack", `sha256:${"0".repeat(64)}`]);
  });
  await t.row("snapshots rm", async () => {
    await t.ctr(["snapshots", "rm", "done"]);
    await t.ctr(["snapshots", "rm", "next", "work", "seen", "bare", "shown"]);
    await t.ctr(["snapshots", "rm", "json"]);
    await t.ctr(["snapshots", "rm", "done"]);
    await t.ctr(["snapshots", "rm", "none"]);
    await t.ctr(["snapshots", "rm", top]);
    await t.ctr(["snapshots", "ls"]);
  });
  await t.row("snapshots --snapshotter native", async () => {
    const native = (args: string[]): string[] => ["snapshots", "--snapshotter", "native", ...args];
    await t.ctr(native(["prepare", "-t", "/mnt", "one"]));
    await t.ctr(native(["commit", "base", "one"]));
    await t.ctr(native(["prepare", "-t", "/mnt", "two", "base"]), { rules: [[/native\/snapshots\/\d+/g, "native/N"]] });
    await t.ctr(native(["ls"]));
    await t.ctr(native(["usage"]));
    await t.ctr(native(["rm", "two"]));
    await t.ctr(native(["rm", "base"]));
    await t.ctr(["snapshots", "--snapshotter", "no-such-one", "ls"]);
  });
}

/** Leases and namespaces. */
export async function leases(t: Comparison): Promise<void> {
  await t.row("leases create", async () => {
    await t.ctr(["leases", "create", "--id", "mine", "colour=blue"]);
    await t.ctr(["leases", "create", "--id", "mine"]);
    await t.ctr(["leases", "create", "--id", "short", "--expires", "1h"], {
      rules: [[/gc.expire=\S+/g, "gc.expire=TIME"]],
    });
    await t.ctr(["leases", "create", "--id", "../hostile"]);
    await t.ctr(["leases", "create"]);
  });
  await t.row("leases ls", async () => {
    await t.ctr(["leases", "ls"]);
    await t.ctr(["leases", "ls", "-q"]);
    await t.ctr(["leases", "ls", "id==mine"]);
    await t.ctr(["leases", "ls", "labels.colour==red"]);
  });
  await t.row("leases rm", async () => {
    await t.ctr(["leases", "rm", "mine"]);
    await t.ctr(["leases", "rm", "--sync", "short"]);
    await t.ctr(["leases", "rm", "none"]);
    await t.ctr(["leases", "ls", "id==mine"]);
  });
  await t.row("namespaces create", async () => {
    await t.ctr((s) => ["namespaces", "create", `${s.namespace}-second`, "colour=blue"]);
    await t.ctr((s) => ["namespaces", "create", `${s.namespace}-second`]);
    await t.ctr(["namespaces", "create", "not/one"]);
    await t.ctr(["namespaces", "create", "x".repeat(100)]);
  });
  await t.row("namespaces ls", async () => {
    await t.ctr(["namespaces", "ls"], { rules: [[/fence=\S+|probe=\S+/g, ""]] });
    await t.ctr(["namespaces", "ls", "-q"]);
  });
  await t.row("namespaces label", async () => {
    await t.ctr((s) => ["namespaces", "label", `${s.namespace}-second`, "colour=red"]);
    await t.ctr((s) => ["namespaces", "label", `${s.namespace}-second`, "shape=round"]);
    await t.ctr((s) => ["namespaces", "label", `${s.namespace}-second`, "shape="]);
    await t.ctr(["namespaces", "label", "none-such", "a=b"]);
    await t.ctr(["namespaces", "ls"], { rules: [[/fence=\S+|probe=\S+/g, ""]] });
  });
  await t.row("namespaces rm", async () => {
    await t.ctr((s) => ["namespaces", "rm", `${s.namespace}-second`]);
    await t.ctr((s) => ["namespaces", "rm", `${s.namespace}-second`]);
    await t.ctr((s) => ["namespaces", "rm", s.namespace]);
    await t.ctr(["namespaces", "ls", "-q"]);
  });
}

/** Rows that need a registry; every side pushes into a repository of its own. */
export async function registry(t: Comparison, host: string): Promise<void> {
  const own = (s: Side): string => `${host}/side-${s.letter}/busybox:1`;
  const options = { view: lastWords };
  const push = { view: pushed };
  // How far the progress of what fails comes is chance.
  const failing = { view: () => "" };
  const snapshotter = (side: Side): string => side.daemon.snapshotter;
  await t.row("images push", async () => {
    await t.ctr((s) => ["images", "push", "--plain-http", own(s), names.busybox], push);
    await t.ctr((s) => ["images", "push", "--plain-http", `${host}/side-${s.letter}/layers:1`, names.layers], push);
    await t.ctr(
      (s) => ["images", "push", "--plain-http", `${host}/side-${s.letter}/none:1`, "example.com/none:1"],
      failing,
    );
  });
  await t.row(
    "images pull",
    async () => {
      await t.ctr((s) => ["images", "pull", "--plain-http", "--snapshotter", snapshotter(s), own(s)], options);
      await t.ctr((s) => ["images", "pull", "--plain-http", `${host}/side-${s.letter}/layers:1`], options);
      await t.ctr((s) => ["images", "pull", "--plain-http", `${host}/side-${s.letter}/none:1`], failing);
      await t.ctr(["images", "ls"]);
    },
    { anyOrder: true },
  );
  if (t.atLeast("1.7")) {
    await t.row(
      "images pull --local",
      async () => {
        await t.ctr((s) => ["images", "pull", "--local", "--plain-http", own(s)], options);
        await t.ctr((s) => ["images", "pull", "--local", "--plain-http", `${host}/side-${s.letter}/none:1`], failing);
      },
      { anyOrder: true },
    );
    await t.row("images push --local", async () => {
      await t.ctr(
        (s) => ["images", "push", "--local", "--plain-http", `${host}/side-${s.letter}/again:1`, names.layers],
        push,
      );
    });
  }
  await t.row(
    "content fetch",
    async () => {
      await t.ctr((s) => ["content", "fetch", "--plain-http", own(s)], options);
      await t.ctr((s) => ["content", "fetch", "--plain-http", `${host}/side-${s.letter}/none:1`], failing);
    },
    { anyOrder: true },
  );
  await t.row("content fetch-object", async () => {
    await t.ctr((s) => ["content", "fetch-object", "--plain-http", own(s)], options);
  });
  if (t.atLeast("1.7")) {
    await t.row("content fetch-blob", async () => {
      const list = await Promise.all(t.sides.map((s) => s.ctr(["images", "ls", `name==${names.busybox}`])));
      await t.ctr((s) => {
        const digest = firstDigest(list[t.sides.indexOf(s)]?.stdout ?? "");
        return ["content", "fetch-blob", "--plain-http", own(s), digest];
      }, options);
    });
  }
  await t.row("content push-object", async () => {
    const list = await Promise.all(t.sides.map((s) => s.ctr(["images", "ls", `name==${names.docker}`])));
    await t.ctr((s) => {
      const digest = firstDigest(list[t.sides.indexOf(s)]?.stdout ?? "");
      const type = "application/vnd.docker.distribution.manifest.v2+json";
      return ["content", "push-object", "--plain-http", `${host}/side-${s.letter}/object:1`, digest, type];
    }, options);
  });
}

/** Removing what is used by nothing; last, since it takes everything. */
export async function prune(t: Comparison): Promise<void> {
  await t.row("content prune references", async () => {
    await t.ctr(["content", "prune", "references", "--dry"], { unordered: true });
    await t.ctr(["content", "prune", "references"], { unordered: true });
    await t.ctr(["content", "ls"]);
  });
  if (!t.atLeast("1.7")) return;
  await t.row(
    "images prune",
    async () => {
      await t.ctr(["images", "prune"]);
      await t.ctr(["images", "prune", "--all"], { unordered: true });
      await t.ctr(["images", "ls"]);
      await t.ctr(["content", "ls", "-q"]);
      await t.ctr(["snapshots", "ls"]);
    },
    { anyOrder: true },
  );
}

async function listing(path: string): Promise<string> {
  return (await Bun.$`tar -tvf ${path} --numeric-owner`.quiet().nothrow()).stdout.toString();
}

async function tree(path: string): Promise<string> {
  return (
    await Bun.$`cd ${path} && find . -printf '%M %U:%G %s %p %l\n' | sort -k4`.quiet().nothrow()
  ).stdout.toString();
}

/** Puts a file into the tree of a snapshot that is one directory. */
async function write(side: Side, key: string, name: string, text: string) {
  const answer = await side.ctr(["snapshots", "mounts", side.file("w"), key]);
  const script = `mkdir -p ${side.file("w")} && ${answer.stdout.trim()} && printf '%s' "$TEXT" > ${side.file("w")}/${name} && umount ${side.file("w")}`;
  const child = await Bun.$`sh -c ${script}`
    .env({ ...process.env, TEXT: text })
    .quiet()
    .nothrow();
  return { exitCode: child.exitCode, stdout: "", stderr: child.stderr.toString(), timedOut: false, ms: 0 };
}
