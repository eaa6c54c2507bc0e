/** R29: ingests are resumed after a power cut from what was synced, and after a mere kill from all that was written. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { cpSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bootId, sureBytes, writeMark } from "../../../../supervisor/content/mark.ts";
import { digestOf, Rig } from "./rig.ts";

const MIB = 1 << 20;
let rig: Rig;
beforeEach(async () => {
  rig = await new Rig().open();
});
afterEach(async () => {
  await rig.stop();
  rig.remove();
});

const directory = (): string =>
  join(rig.root, "content/ingest", readdirSync(join(rig.root, "content/ingest"))[0] ?? "");
const markOf = (path: string): string => readFileSync(join(path, "synced"), "latin1");

/** Writes megabytes, and leaves the writer as a power cut does. @returns the directory, with the mark of another boot */
async function cutOff(megabytes: number, ref = "r"): Promise<string> {
  const writer = await rig.store.writer("default", { ref });
  for (let i = 0; i < megabytes; i++) await writer.write(new Uint8Array(MIB).fill(i + 1));
  const path = directory();
  const deadline = performance.now() + 10_000;
  const isLong = megabytes > 16;
  while (isLong && Number(markOf(path).slice(0, 16)) === 0 && performance.now() < deadline) await Bun.sleep(5);
  const cut = join(rig.root, "cut");
  cpSync(path, cut, { recursive: true });
  await writer.close();
  await rig.kill();
  rmSync(path, { recursive: true });
  renameSync(cut, path);
  writeFileSync(join(path, "synced"), markOf(path).replace(bootId(), "another"));
  return path;
}

test("R29: after a power cut an ingest goes on from what was synced, not from what was written", async () => {
  const path = await cutOff(20);
  const synced = Number(markOf(path).slice(0, 16));
  expect(synced).toBeGreaterThanOrEqual(16 * MIB);
  // What was not synced may be zeros, or anything.
  const data = readFileSync(join(path, "data"));
  data.fill(0, synced);
  writeFileSync(join(path, "data"), data);
  await rig.open();
  const whole = Buffer.concat(Array.from({ length: 20 }, (_, i) => Buffer.alloc(MIB, i + 1)));
  const writer = await rig.store.writer("default", { ref: "r", expected: digestOf(whole) });
  expect(writer.offset).toBe(synced);
  await writer.write(whole.subarray(synced));
  await writer.commit({ size: whole.length, expected: digestOf(whole) });
});

test("R29: what was never synced is not resumed after a power cut", async () => {
  await cutOff(2);
  await rig.open();
  const writer = await rig.store.writer("default", { ref: "r" });
  expect(writer.offset).toBe(0);
  await writer.close();
});

test("R29: an ingest that was closed is on disk as a whole", async () => {
  const first = await rig.store.writer("default", { ref: "r", expected: digestOf("helloworld") });
  await first.write(Buffer.from("hello"));
  await first.close();
  const path = directory();
  await rig.kill();
  writeFileSync(join(path, "synced"), markOf(path).replace(bootId(), "another"));
  await rig.open();
  const second = await rig.store.writer("default", { ref: "r", expected: digestOf("helloworld") });
  expect(second.offset).toBe(5);
  await second.close();
});

test("R29: an ingest that began again is not resumed from what was synced before", async () => {
  const first = await rig.store.writer("default", { ref: "r", expected: digestOf("other") });
  await first.write(Buffer.from("hello"));
  await first.close();
  const second = await rig.store.writer("default", { ref: "r", expected: digestOf("other") });
  await second.truncate(0);
  expect(markOf(directory()).slice(0, 16)).toBe("0000000000000000");
  await second.close();
});

test("a mark tells no more than there is, and a damaged one nothing", async () => {
  await rig.store.writer("default", { ref: "r" }).then((writer) => writer.close());
  const path = directory();
  await writeMark(path, 100, true, "one");
  expect(await sureBytes(path, 50, "two")).toBe(50);
  expect(await sureBytes(path, 500, "two")).toBe(100);
  expect(await sureBytes(path, 500, "one")).toBe(500);
  expect(await sureBytes(path, 500, "")).toBe(100);
  truncateSync(join(path, "synced"), 7);
  expect(await sureBytes(path, 500, "one")).toBe(0);
  // Of a daemon that made no marks.
  expect(await sureBytes(join(path, "nowhere"), 500, "one")).toBe(500);
});
