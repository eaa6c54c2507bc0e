import { describe, expect, test } from "bun:test";
import { formatLine, redact } from "../../../../supervisor/log/line.ts";
import { LogWriter } from "../../../../supervisor/log/log.ts";
import { Sink } from "../../../../supervisor/log/sink.ts";

const at = new Date("2024-05-06T07:08:09.010Z");

describe("a line", () => {
  test("is logrus text", () => {
    expect(
      formatLine(at, "warn", 'say "hi"\n', { id: "c1", error: new Error("no such file"), n: 3, gone: undefined }),
    ).toBe('time="2024-05-06T07:08:09.010Z" level=warning msg="say \\"hi\\"\\n" id=c1 error="no such file" n=3\n');
  });

  test.each([
    ["https://user:pass@host/x", "https://***@host/x"],
    ["Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"],
    ["Basic dXNlcjpwYXNz failed", "Basic *** failed"],
    ["GET https://h/v2?token=abc&scope=x", "GET https://h/v2?token=***&scope=x"],
    ["https://s3/x?X-Amz-Signature=abc&a=b", "https://s3/x?X-Amz-Signature=***&a=b"],
    ['{"password":"hunter2","user":"x"}', '{"password":"***","user":"x"}'],
    ["a basic idea", "a basic idea"],
  ])("%p is written without secrets", (text, expected) => {
    expect(redact(text)).toBe(expected);
  });

  test("fields with the name of a secret are not written", () => {
    expect(formatLine(at, "info", "x", { password: "p", registryToken: "t", path: "/x" })).toContain(
      " password=*** registryToken=*** path=/x\n",
    );
  });
});

describe("the sink", () => {
  test("keeps lines in order while the reader is slow, and writes the rest of a torn one", async () => {
    let text = "";
    let room = 5;
    const sink = new Sink((bytes) => {
      const count = Math.min(room, bytes.length);
      text += new TextDecoder().decode(bytes.subarray(0, count));
      room -= count;
      return count === 0 ? -1 : count;
    });
    sink.put("first line\n", String);
    sink.put("second line\n", String);
    expect(text).toBe("first");
    room = 1000;
    await Bun.sleep(120);
    expect(text).toBe("first line\nsecond line\n");
    expect(sink.depth).toBe(0);
  });

  test("drops lines when too many wait, and tells how many", () => {
    let text = "";
    let stuck = true;
    const sink = new Sink((bytes) => {
      if (stuck) return -1;
      text += new TextDecoder().decode(bytes);
      return bytes.length;
    });
    const line = `${"x".repeat(1023)}\n`;
    for (let n = 0; n < 1030; n++) sink.put(line, String);
    expect(sink.depth).toBeLessThanOrEqual(1 << 20);
    expect(sink.dropped).toBe(6);
    stuck = false;
    sink.flush();
    sink.put("last\n", (count) => `lost ${count}\n`);
    expect(text.endsWith("x\nlost 6\nlast\n")).toBe(true);
  });

  test("a descriptor that fails never throws", () => {
    const sink = new Sink(() => {
      throw new Error("EPIPE");
    });
    sink.put("a\n", String);
    expect(sink.dropped).toBe(1);
    expect(sink.depth).toBe(0);
  });
});

test("the level decides", () => {
  let text = "";
  const log = new LogWriter("warn", (bytes) => {
    text += new TextDecoder().decode(bytes);
    return bytes.length;
  });
  log.info("not seen");
  log.error("seen");
  log.level = "debug";
  log.debug("seen too");
  expect(text.match(/level=\w+/g)).toEqual(["level=error", "level=debug"]);
  expect(log.state.lines).toEqual({ debug: 1, info: 0, warn: 0, error: 1 });
});
