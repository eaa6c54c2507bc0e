import { afterAll, afterEach, describe, expect, spyOn, test } from "bun:test";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { log } from "../../../../../../shim/log.ts";
import { fileSink } from "../../../../../../shim/process/stdio/file.ts";
import { rejection } from "../../../../../lib/outcome.ts";
import { testUnless } from "../../../../../lib/skip.ts";

const root = mkdtempSync(join(tmpdir(), "berth-log-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let count = 0;
const fresh = () => join(root, String(++count), "c.log");
const bytes = (text: string) => new TextEncoder().encode(text);

/** All that is in the files of a log, oldest first. */
function content(path: string): string {
  const numbers = readdirSync(join(path, ".."))
    .map((name) => /^c\.log\.(\d+)$/.exec(name)?.[1])
    .filter((number) => number !== undefined)
    .map(Number)
    .toSorted((a, b) => b - a);
  const files = [...numbers.map((number) => `${path}.${number}`), ...(existsSync(path) ? [path] : [])];
  return files.map((file) => readFileSync(file, "utf8")).join("");
}

const logs = (text: string) =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => (JSON.parse(line) as { log: string }).log);

describe("R28: rotation", () => {
  test.each(["json", "cri", "raw"])("keeps every line whole and in order: %s", async (format) => {
    const path = fresh();
    const sink = await fileSink({ path, query: `format=${format}&max-size=2k&max-file=100` }, "stdout");
    let expected = "";
    for (let i = 0; i < 400; i++) {
      const line = `line ${i} ${"x".repeat(i % 60)}\n`;
      expected += line;
      // In two reads, so that lines begin in one and end in the other.
      sink.write(bytes(line.slice(0, 5)));
      sink.write(bytes(line.slice(5)));
    }
    sink.close();
    const all = content(path);
    if (format === "json") expect(logs(all).join("")).toBe(expected);
    else if (format === "raw") expect(all).toBe(expected);
    else expect(all.replace(/^\S+ stdout F /gm, "")).toBe(expected);
    const files = readdirSync(join(path, ".."));
    expect(files.length).toBeGreaterThan(5);
    for (const file of files) {
      const one = readFileSync(join(path, "..", file), "utf8");
      // A raw line that has begun in a file ends there.
      expect(one.length).toBeLessThanOrEqual(format === "raw" ? 2048 + 70 : 2048);
      expect(one).toEndWith("\n");
    }
  });

  test("keeps as many files as it may, the newest", async () => {
    const path = fresh();
    const sink = await fileSink({ path, query: "max-size=1k&max-file=3" }, "stdout");
    for (let i = 0; i < 200; i++) sink.write(bytes(`${String(i).padStart(99, "0")}\n`));
    sink.close();
    expect(readdirSync(join(path, "..")).toSorted()).toEqual(["c.log", "c.log.1", "c.log.2"]);
    const numbers = content(path).trimEnd().split("\n").map(Number);
    expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, i) => 200 - numbers.length + i));
    expect(numbers.length).toBeGreaterThan(20);
  });

  test("with one file begins it anew", async () => {
    const path = fresh();
    const sink = await fileSink({ path, query: "max-size=1k&max-file=1" }, "stdout");
    for (let i = 0; i < 55; i++) sink.write(bytes(`${String(i).padStart(99, "0")}\n`));
    sink.close();
    expect(readdirSync(join(path, ".."))).toEqual(["c.log"]);
    expect(readFileSync(path, "utf8")).toEndWith("54\n");
    expect(statSync(path).size).toBeLessThanOrEqual(1024);
  });

  test("one large read goes to several files", async () => {
    const path = fresh();
    const sink = await fileSink({ path, query: "format=json&max-size=4k&max-file=100" }, "stdout");
    const text = Array.from({ length: 1000 }, (_, i) => `line ${i}\n`).join("");
    sink.write(bytes(text));
    sink.close();
    expect(logs(content(path)).join("")).toBe(text);
  });

  test("bounds raw output without newlines, and an entry that is larger than a file", async () => {
    const path = fresh();
    const sink = await fileSink({ path, query: "max-size=1k&max-file=100" }, "stdout");
    sink.write(bytes("x".repeat(10_000)));
    for (let i = 0; i < 100; i++) sink.write(bytes("y".repeat(700)));
    sink.close();
    expect(content(path)).toBe("x".repeat(10_000) + "y".repeat(70_000));
    for (const file of readdirSync(join(path, ".."))) {
      expect(statSync(join(path, "..", file)).size).toBeLessThanOrEqual(1024 + (16 << 10));
    }
    const other = fresh();
    const entries = await fileSink({ path: other, query: "format=cri&max-size=1k&max-file=100" }, "stderr");
    entries.write(bytes(`${"z".repeat(40_000)}\nend\n`));
    entries.close();
    expect(content(other).match(/ stderr P z+\n/g)).toHaveLength(2);
    expect(content(other)).toEndWith(" stderr F end\n");
    expect(readdirSync(join(other, ".."))).toHaveLength(4);
  });

  test("goes on after a power cut between two renames, and moves no file that need not move", async () => {
    const path = fresh();
    mkdirSync(join(path, ".."));
    // c.log.1 became c.log.2; then c.log was to become c.log.1.
    writeFileSync(`${path}.2`, "old\n");
    writeFileSync(path, `${"n".repeat(1000)}\n`);
    const sink = await fileSink({ path, query: "max-size=1k&max-file=5" }, "stdout");
    sink.write(bytes(`${"m".repeat(1000)}\n`));
    sink.close();
    expect(readFileSync(`${path}.2`, "utf8")).toBe("old\n");
    expect(readFileSync(`${path}.1`, "utf8")).toStartWith("nnn");
    expect(readFileSync(path, "utf8")).toStartWith("mmm");
    rmSync(path);
    const next = await fileSink({ path, query: "max-size=1k&max-file=2" }, "stdout");
    // Settings that allow fewer files take the others away.
    expect(readdirSync(join(path, ".."))).toEqual(expect.not.arrayContaining(["c.log.2"]));
    next.close();
  });

  test("does not rename what somebody else has put in place", async () => {
    const path = fresh();
    const sink = await fileSink({ path, query: "max-size=1k&max-file=5" }, "stdout");
    sink.write(bytes(`${"a".repeat(900)}\n`));
    renameSync(path, `${path}.1`);
    writeFileSync(path, "other\n");
    sink.write(bytes(`${"b".repeat(900)}\n`));
    sink.close();
    expect(readdirSync(join(path, ".."))).toHaveLength(2);
    expect(readFileSync(path, "utf8")).toBe(`other\n${"b".repeat(900)}\n`);
  });

  test("half an entry of before is ended, not made the beginning of the next", async () => {
    const path = fresh();
    mkdirSync(join(path, ".."));
    writeFileSync(path, '{"log":"torn');
    const sink = await fileSink({ path, query: "format=json" }, "stdout");
    sink.write(bytes("whole\n"));
    sink.close();
    const [torn, whole = ""] = readFileSync(path, "utf8").split("\n");
    expect(torn).toBe('{"log":"torn');
    expect(logs(whole)).toEqual(["whole\n"]);
  });
});

describe("streams that name one file", () => {
  test("share it, and each has its own line", async () => {
    const path = fresh();
    const query = "format=json";
    const out = await fileSink({ path, query }, "stdout");
    const err = await fileSink({ path: path.replace("/c.log", "//./c.log"), query }, "stderr");
    out.write(bytes("half "));
    err.write(bytes("error\n"));
    out.write(bytes("line\n"));
    out.close();
    err.write(bytes("late"));
    err.close();
    const entries = readFileSync(path, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { log: string; stream: string });
    expect(entries.map(({ log: text, stream }) => `${stream}: ${text}`)).toEqual([
      "stderr: error\n",
      "stdout: half line\n",
      "stderr: late",
    ]);
  });

  test("must agree about its settings", async () => {
    const path = fresh();
    const sink = await fileSink({ path, query: "format=json" }, "stdout");
    expect(String(await rejection(fileSink({ path, query: "" }, "stderr")))).toContain("is open with format=json");
    sink.close();
    (await fileSink({ path, query: "" }, "stderr")).close();
  });
});

describe("R14: a full disk", () => {
  const disk = join(root, "disk");
  const complaints: string[] = [];
  const spies = [
    spyOn(log, "warn").mockImplementation((text) => void complaints.push(text)),
    spyOn(log, "error").mockImplementation((text) => void complaints.push(text)),
  ];
  afterEach(() => void Bun.spawnSync(["umount", disk]));
  afterAll(() => {
    for (const spy of spies) spy.mockRestore();
  });
  const impossible = process.getuid?.() === 0 ? undefined : "needs root, to mount a small file system";

  for (const format of ["json", "cri", "raw"]) {
    testUnless(impossible, `the log says what is missing, to the byte: ${format}`, async () => {
      mkdirSync(disk, { recursive: true });
      expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]).exitCode).toBe(0);
      complaints.length = 0;
      const path = join(disk, "c.log");
      const ballast = join(disk, "ballast");
      writeFileSync(ballast, new Uint8Array(32_768));
      const sink = await fileSink({ path, query: `format=${format}&max-size=1m&max-file=2` }, "stdout");
      const lines = Array.from({ length: 3000 }, (_, i) => `line ${i} of "many"\n`);
      let sent = 0;
      const put = (text: string) => {
        sent += text.length;
        sink.write(bytes(text));
      };
      for (let at = 0; at < lines.length; at += 100) put(lines.slice(at, at + 100).join(""));
      rmSync(ballast);
      put("after\n");
      sink.close();
      const text = readFileSync(path, "utf8");
      const kept = (
        format === "json" ? logs(text).join("") : format === "cri" ? text.replace(/^\S+ std\w+ F /gm, "") : text
      ).split("\n");
      const notices = kept.filter((line) => line.startsWith("berth: "));
      expect(notices).toHaveLength(1);
      expect(notices[0]).toContain("no space left on device");
      const missing = Number(/^berth: (\d+) bytes/.exec(notices[0] ?? "")?.[1]);
      // A line of raw output may have been cut in two by the end of the space; the rest is what was sent.
      const left = kept.filter((line) => line !== "" && !line.startsWith("berth: ")).map((line) => line.length + 1);
      const cut = format === "raw" ? 1 : 0;
      expect(Math.abs(left.reduce((sum, length) => sum + length, 0) + missing - sent)).toBeLessThanOrEqual(cut);
      expect(kept.at(-2)).toBe("after");
      expect(missing).toBeGreaterThan(10_000);
      expect(JSON.parse(readFileSync(`${path}.dropped`, "utf8"))).toMatchObject({ bytes: missing });
      expect(complaints.join("\n")).toContain(`dropped ${missing} bytes that could not be written to log file ${path}`);
    });
  }

  testUnless(impossible, "what was lost before is added up", async () => {
    mkdirSync(disk, { recursive: true });
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]).exitCode).toBe(0);
    const path = join(disk, "c.log");
    const ballast = join(disk, "ballast");
    const totals: number[] = [];
    for (let round = 0; round < 2; round++) {
      const sink = await fileSink({ path, query: "format=json&max-size=1k&max-file=2" }, "stdout");
      // Until not even the first byte finds room.
      try {
        for (;;) appendFileSync(ballast, new Uint8Array(4096));
      } catch {}
      for (let i = 0; i < 100; i++) sink.write(bytes(`${"x".repeat(99)}\n`));
      rmSync(ballast);
      sink.close();
      totals.push((JSON.parse(readFileSync(`${path}.dropped`, "utf8")) as { bytes: number }).bytes);
    }
    const [first = 0, second = 0] = totals;
    expect(first).toBeGreaterThan(5000);
    expect(second).toBeGreaterThan(first + 5000);
  });
});
