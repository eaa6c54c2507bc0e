import { afterAll, describe, expect, test } from "bun:test";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileSink } from "../../../../shim/process/stdio/file.ts";
import { LogReader, type ReadOptions } from "../../../../supervisor/logs/reader.ts";
import { logSizes, lossOf, removeLogs, tailOf } from "../../../../supervisor/logs/uri.ts";

const root = mkdtempSync(join(tmpdir(), "berth-logs-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let count = 0;
function fresh(): string {
  const directory = join(root, String(++count));
  mkdirSync(directory);
  return join(directory, "c.log");
}
const bytes = (text: string) => new TextEncoder().encode(text);
const json = (log: string, second = 0, stream = "stdout") =>
  `${JSON.stringify({ log, stream, time: `2026-01-01T00:00:${String(second).padStart(2, "0")}.5Z` })}\n`;

async function textOf(path: string, options: ReadOptions = {}): Promise<string> {
  let text = "";
  for await (const entries of new LogReader(path).read(options)) {
    for (const entry of entries) text += new TextDecoder().decode(entry.text);
  }
  return text;
}

describe("reading", () => {
  test("recognises each line: JSON, CRI, raw, and halves of entries", async () => {
    const path = fresh();
    writeFileSync(
      path,
      `${json("one\n")}2026-01-01T00:00:02Z stderr P tw\n2026-01-01T00:00:02.123456789+01:00 stderr F o\nraw {\n{"log":"torn\n{"a":1}\n${json('"€"\n')}`,
    );
    expect(await textOf(path)).toBe('one\ntwo\nraw {\n{"log":"torn\n{"a":1}\n"€"\n');
    const streams: string[] = [];
    for await (const entries of new LogReader(path).read()) streams.push(...entries.map(({ stream }) => stream));
    expect(streams).toEqual(["stdout", "stderr", "stderr", "stdout", "stdout", "stdout", "stdout"]);
  });

  test("joins the files, oldest first, past a gap in the numbers", async () => {
    const path = fresh();
    writeFileSync(`${path}.4`, json("a\n"));
    writeFileSync(`${path}.2`, json("b\n"));
    writeFileSync(path, json("c\n"));
    writeFileSync(`${path}.dropped`, "{}");
    expect(await textOf(path)).toBe("a\nb\nc\n");
  });

  test("since and until", async () => {
    const path = fresh();
    writeFileSync(path, [1, 2, 3, 4].map((n) => json(`${n}\n`, n)).join(""));
    const at = (second: number) => Date.parse(`2026-01-01T00:00:0${second}Z`);
    expect(await textOf(path, { since: at(2) })).toBe("2\n3\n4\n");
    expect(await textOf(path, { since: at(2), until: at(4) })).toBe("2\n3\n");
  });

  test("a line without end takes bounded memory, and comes whole", async () => {
    const path = fresh();
    for (let i = 0; i < 64; i++) appendFileSync(path, "x".repeat(1 << 20));
    appendFileSync(path, `\n${json("end\n")}`);
    let length = 0;
    let largest = 0;
    for await (const entries of new LogReader(path).read()) {
      for (const { text } of entries) {
        length += text.length;
        largest = Math.max(largest, text.length);
      }
    }
    expect(length).toBe((64 << 20) + 1 + 4);
    expect(largest).toBeLessThan(2 << 20);
    expect(await textOf(path, { tail: 1 })).toBe("end\n");
  });
});

describe("the last lines", () => {
  const sizes = [0, 1, 2, 3, 99, 1000, 5000, 20_000];
  test.each(sizes)("%d of several files", async (tail) => {
    const path = fresh();
    const lines = Array.from({ length: 9000 }, (_, i) => `line ${i} ${"y".repeat(i % 50)}\n`);
    writeFileSync(
      `${path}.2`,
      lines
        .slice(0, 3000)
        .map((line) => json(line))
        .join(""),
    );
    writeFileSync(
      `${path}.1`,
      lines
        .slice(3000, 6000)
        .map((line) => json(line))
        .join(""),
    );
    writeFileSync(
      path,
      lines
        .slice(6000)
        .map((line) => json(line))
        .join(""),
    );
    expect(await textOf(path, { tail })).toBe(tail === 0 ? "" : lines.slice(-tail).join(""));
  });

  test("parts of a line are one", async () => {
    const path = fresh();
    writeFileSync(path, [json("first\n"), json("a"), json("b"), json("c\n"), json("d\n")].join(""));
    expect(await textOf(path, { tail: 2 })).toBe("abc\nd\n");
    expect(await textOf(path, { tail: 3 })).toBe("first\nabc\nd\n");
    appendFileSync(path, json("unfinished"));
    expect(await textOf(path, { tail: 1 })).toBe("unfinished");
  });

  test("of raw output, without a newline at its end and with many empty lines", async () => {
    const path = fresh();
    writeFileSync(path, `${"\n".repeat(100_000)}a\n\nb`);
    expect(await textOf(path, { tail: 3 })).toBe("a\n\nb");
    expect(await textOf(path, { tail: 5 })).toBe("\n\na\n\nb");
  });
});

/** Follows a log until told; `text` grows. */
function follow(path: string, options: ReadOptions = {}, pause?: () => Promise<void>) {
  const finished = new AbortController();
  const state = { text: "", gaps: 0 };
  const done = (async () => {
    const reader = new LogReader(path).read({
      ...options,
      follow: true,
      finished: finished.signal,
      onGap: () => state.gaps++,
    });
    for await (const entries of reader) {
      for (const entry of entries) state.text += new TextDecoder().decode(entry.text);
      await pause?.();
    }
  })();
  return { state, done, finish: () => finished.abort() };
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = Date.now() + 20_000; !holds(); await Bun.sleep(5)) {
    if (Date.now() > end) throw new Error(`waited for ${what} in vain`);
  }
}

describe("R28: following", () => {
  test.each([
    ["a fast follower", 0],
    ["a slow one", 3],
  ])(
    "%s loses nothing and sees nothing twice while the log is renamed again and again",
    async (_, slow) => {
      const path = fresh();
      const sink = await fileSink({ path, query: "format=json&max-size=8k&max-file=100" }, "stdout");
      const follower = follow(path, {}, slow > 0 ? () => Bun.sleep(slow) : undefined);
      let expected = "";
      for (let i = 0; i < 6000; i++) {
        const line = `line ${i}\n`;
        expected += line;
        sink.write(bytes(line));
        if (i % 50 === 0) await Bun.sleep(1);
      }
      sink.close();
      await until("all lines", () => follower.state.text.length >= expected.length);
      follower.finish();
      await follower.done;
      expect(follower.state.text === expected).toBe(true);
      expect(follower.state.gaps).toBe(0);
      expect(existsSync(`${path}.20`)).toBe(true);
    },
    60_000,
  );

  test("waits for a log that is not there yet, and for its directory", async () => {
    const path = join(fresh(), "..", "later", "still", "c.log");
    const follower = follow(path);
    await Bun.sleep(20);
    mkdirSync(join(path, ".."), { recursive: true });
    await Bun.sleep(20);
    writeFileSync(path, json("hello\n"));
    await until("the line", () => follower.state.text === "hello\n");
    follower.finish();
    await follower.done;
  });

  test("reads what was written last when the files are removed, and says when some were missed", async () => {
    const path = fresh();
    writeFileSync(path, json("one\n"));
    const follower = follow(path, { tail: 0 });
    await Bun.sleep(50);
    appendFileSync(path, json("two\n"));
    rmSync(path);
    await until("the line", () => follower.state.text === "two\n");
    // Two generations later.
    writeFileSync(`${path}.new`, json("four\n"));
    writeFileSync(`${path}.1`, json("three\n"));
    renameSync(`${path}.new`, path);
    await until("the lines", () => follower.state.text === "two\nthree\nfour\n");
    follower.finish();
    await follower.done;
    expect(follower.state.gaps).toBe(1);
  });

  test("ends at once by its signal", async () => {
    const path = fresh();
    writeFileSync(path, json("one\n"));
    const stop = new AbortController();
    const follower = follow(path, { signal: stop.signal });
    await until("the line", () => follower.state.text === "one\n");
    stop.abort();
    await follower.done;
  });
});

describe("by URI", () => {
  test("tail, sizes, losses and removal", async () => {
    const path = fresh();
    const uri = `file://${path}?format=json&max-size=1m`;
    writeFileSync(`${path}.1`, json("a\n"));
    writeFileSync(path, json("b\n") + json("c\n"));
    writeFileSync(`${path}.dropped`, JSON.stringify({ bytes: 5, first: "x", last: "y", error: "full" }));
    expect((await tailOf(uri, 2)).map(({ text }) => new TextDecoder().decode(text))).toEqual(["b\n", "c\n"]);
    expect((await logSizes(uri)).map(({ path: name, isCurrent }) => [name, isCurrent])).toEqual([
      [`${path}.1`, false],
      [path, true],
    ]);
    expect(await lossOf(uri)).toEqual({ bytes: 5, first: "x", last: "y", error: "full" });
    expect(await removeLogs(uri, true)).toBe(json("a\n").length);
    expect(existsSync(path)).toBe(true);
    await removeLogs(uri, false);
    expect(await logSizes(uri)).toEqual([]);
    expect(await lossOf(uri)).toBeUndefined();
    expect(await tailOf("binary:///usr/bin/logger", 5)).toEqual([]);
  });
});
