/** Trees that no path and no text can name: counting and copying them. */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import {
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { copyTree, usageOfTree } from "../../../../supervisor/snapshot/tree/process.ts";
import { diskUsage } from "../../../../supervisor/snapshot/usage.ts";
import { outcome } from "../../../lib/outcome.ts";

// The machine may be busy with other things.
setDefaultTimeout(30_000);

const dir = mkdtempSync(join(tmpdir(), "berth-tree-"));
const [from, to] = [join(dir, "from"), join(dir, "to")];
const oddName = (path: string): Buffer => Buffer.concat([Buffer.from(`${path}/odd`), Buffer.from([0xff, 0xfe])]);

beforeAll(() => {
  for (const path of [from, to, `${from}/d`]) mkdirSync(path);
  writeFileSync(`${from}/d/file`, "x".repeat(9000), { mode: 0o640 });
  linkSync(`${from}/d/file`, `${from}/second name`);
  symlinkSync("/etc/passwd", `${from}/link`);
  Bun.spawnSync(["mkfifo", `${from}/fifo`]);
  Bun.spawnSync(["mknod", `${from}/null`, "c", "1", "3"]);
  writeFileSync(`${from}/sparse`, "begin");
  truncateSync(`${from}/sparse`, 50 << 20);
  utimesSync(`${from}/d`, 1e9, 1e9 + 0.5);
  Bun.spawnSync(
    [
      "sh",
      "-c",
      "i=0; while [ $i -lt 220 ]; do mkdir directory-number-$i; cd -P directory-number-$i; i=$((i+1)); done; echo x > bottom",
    ],
    { cwd: from },
  );
});

afterAll(() => rmSync(dir, { recursive: true }));

function du(path: string): { size: number; inodes: number } {
  const run = (...args: string[]): number =>
    Number(
      Bun.spawnSync(["du", "-s", ...args, path])
        .stdout.toString()
        .split("\t")[0],
    );
  return { size: run("--block-size=1"), inodes: run("--inodes") };
}

test("counts like du what is too deep for a path, in a process", async () => {
  expect(await usageOfTree(from)).toEqual(du(from));
  expect(await diskUsage(from)).toEqual(du(from));
});

test("counts files whose names are no text", async () => {
  mkdirSync(`${dir}/odd`);
  writeFileSync(oddName(`${dir}/odd`), "content");
  expect(await diskUsage(`${dir}/odd`)).toEqual({ size: 8192, inodes: 2 });
});

test("counting ends with its caller", async () => {
  expect(await outcome(usageOfTree(from, AbortSignal.timeout(1)))).toThrow();
});

test("copies contents, holes, links, nodes, modes and times", async () => {
  await copyTree(from, to);
  expect(await usageOfTree(to)).toEqual(await usageOfTree(from));
  const [first, second] = [lstatSync(`${to}/d/file`), lstatSync(`${to}/second name`)];
  expect([first.ino, first.mode & 0o7777, first.size]).toEqual([second.ino, 0o640, 9000]);
  expect(lstatSync(`${to}/d`).mtimeMs).toBe(1e12 + 500);
  expect(lstatSync(`${to}/link`).isSymbolicLink()).toBe(true);
  expect(lstatSync(`${to}/fifo`).isFIFO()).toBe(true);
  expect(lstatSync(`${to}/null`).rdev).toBe(lstatSync("/dev/null").rdev);
  const sparse = lstatSync(`${to}/sparse`);
  expect([sparse.size, sparse.blocks]).toEqual([50 << 20, lstatSync(`${from}/sparse`).blocks]);
  expect(readFileSync(`${to}/sparse`).subarray(0, 6).toString()).toBe("begin\0");
});

test("a copy that fails says what of", async () => {
  expect(await outcome(copyTree(join(dir, "nothing"), to))).toThrow(/^copy .*nothing to .*: /);
});
