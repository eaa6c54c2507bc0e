/** A disk without room, and one without inodes: what is new is refused in a sentence, what is to go goes. */

import { afterEach, expect } from "bun:test";
import {
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { Berthd, builtBerthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { mountLoop, whyNoLoop } from "../lib/loop.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { waitFor } from "../lib/wait.ts";

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  return existsSync(builtBerthd) ? undefined : "berthd is not built";
}

let daemon: Berthd | undefined;

afterEach(async () => {
  const ended = daemon;
  daemon = undefined;
  if (ended === undefined) return;
  await ended.ctr(["tasks", "kill", "--signal", "KILL", "c1"]);
  await ended.stop();
  const mounts = readFileSync("/proc/mounts", "utf8").split("\n");
  const ours = mounts.map((line) => line.split(" ")[1] ?? "").filter((path) => path.startsWith(ended.dir));
  // Lazy: where the test has failed, the container may take a moment to end.
  for (const path of ours.reverse()) await run(["umount", "--lazy", path], { check: true });
  ended.remove();
});

/**
 * A daemon whose root is a file system of its own, small, with an image and a running container.
 * @param mount makes the file system at a directory
 */
async function start(name: string, mount: (root: string) => Promise<void>): Promise<Berthd> {
  const { dir, token } = processScope();
  const made = new Berthd(join(dir, name), token);
  await mount(made.root);
  daemon = made;
  await made.start();
  await made.importImage();
  await made.runDetached("c1", ["sleep", "1000"]);
  return made;
}

function tmpfs(options: string): (root: string) => Promise<void> {
  return async (root) => void (await run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", root], { check: true }));
}

/** An ext4 with a journal in a file. */
async function ext4(root: string): Promise<void> {
  const image = `${root}.ext4`;
  writeFileSync(image, "");
  truncateSync(image, 64 << 20);
  await run(["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "has_journal", image], { check: true });
  await mountLoop(image, root);
}

/** Takes all room that is left. @returns gives it back */
function fillSpace(root: string): () => void {
  const path = join(root, "fill");
  const file = openSync(path, "w");
  const bytes = new Uint8Array(1 << 16);
  for (let length = bytes.length; length >= 1; ) {
    try {
      writeSync(file, bytes, 0, length);
    } catch {
      length >>= 1;
    }
  }
  expect(statfsSync(root).bavail).toBe(0);
  return () => rmSync(path);
}

/** Takes all inodes that are left. @returns gives them back */
function fillInodes(root: string): () => void {
  const path = join(root, "fill");
  mkdirSync(path);
  try {
    for (let count = 0; ; count++) writeFileSync(join(path, String(count)), "");
  } catch {
    expect(statfsSync(root).ffree).toBe(0);
  }
  return () => rmSync(path, { recursive: true });
}

async function check(made: Berthd, fill: (root: string) => () => void): Promise<void> {
  const content = join(made.root, "io.containerd.content.v1.content");
  const ingest = (ref: string, size: number) => made.ctr(["content", "ingest", ref], { stdin: ref.repeat(size) });
  const kept = `sha256:${new Bun.CryptoHasher("sha256").update("a".repeat(1000)).digest("hex")}`;
  // Nothing keeps a blob from the collector before it has its label.
  await waitFor("a blob that is kept", async () => {
    expect((await ingest("a", 1000)).stderr).toMatch(/^$|already exists/);
    return (await made.ctr(["content", "label", kept, "containerd.io/gc.root=x"])).exitCode === 0 && true;
  });
  const giveBack = fill(made.root);

  const refused = await ingest("b", 3 << 20);
  expect(refused.exitCode).not.toBe(0);
  expect(refused.stderr).toMatch(/no (?:space|room).*: resource exhausted/);
  expect((await made.ctr(["content", "active"])).stdout).not.toMatch(/^b\b/m);
  expect(readdirSync(join(content, "ingest"))).toEqual([]);
  expect((await made.ctr(["content", "get", kept])).stdout).toBe("a".repeat(1000));
  const another = await made.run("c2", ["true"]);
  // Without room, but with inodes, a container that writes nothing may still run.
  if (another.exitCode !== 0) expect(another.stderr).toMatch(/resource exhausted|no space left on device/);

  // What is there can be read, goes on, and can be removed.
  expect(await made.status("c1")).toBe("RUNNING");
  expect((await made.exec("c1", ["true"])).exitCode).toBe(0);
  await made.ctr(["tasks", "kill", "--signal", "KILL", "c1"], { check: true });
  await waitFor("the task to end", async () => (await made.status("c1")) === "STOPPED" && true);
  for (const args of [
    ["tasks", "rm", "c1"],
    ["containers", "rm", "c1"],
  ]) {
    const { stderr } = await made.ctr(args);
    expect(stderr.replace(/^.*level=warning.*\n/gm, "")).toBe("");
  }
  const { stdout: images } = await made.ctr(["images", "ls", "--quiet"], { check: true });
  await made.ctr(["images", "rm", "--sync", ...images.trim().split("\n")], { check: true });
  for (const digest of (await made.ctr(["content", "ls", "--quiet"])).stdout.trim().split("\n")) {
    if (digest !== "") await made.ctr(["content", "rm", digest], { check: true });
  }
  await waitFor("the files to go", async () => readdirSync(join(content, "blobs/sha256")).length === 0 && true);

  giveBack();
  await waitFor("room for what is new", async () => (await ingest("c", 1 << 20)).exitCode === 0 && true);
}

testUnless(
  whyNot(),
  "R27: a disk without room",
  async () => check(await start("space", tmpfs("size=48m")), fillSpace),
  60_000,
);

testUnless(
  whyNot() ?? whyNoLoop(),
  "R27: an ext4 without room",
  async () => check(await start("ext4", ext4), fillSpace),
  60_000,
);

testUnless(
  whyNot(),
  "R27: a disk without inodes",
  async () => check(await start("inodes", tmpfs("size=96m,nr_inodes=600")), fillInodes),
  60_000,
);
