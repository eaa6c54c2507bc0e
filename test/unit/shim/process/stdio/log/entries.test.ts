import { describe, expect, test } from "bun:test";
import { type Encoding, encodings } from "../../../../../../shim/process/stdio/log/format.ts";
import { LINE_BYTES, Lines } from "../../../../../../shim/process/stdio/log/lines.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (parts: readonly Uint8Array[]) => Buffer.concat(parts).toString();
const time = "2026-11-30T03:56:13.123456789Z";

/** What becomes of chunks of a stream. */
function encode(encoding: Encoding, chunks: readonly Uint8Array[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const lines = new Lines({
    lines: (whole) => parts.push(encoding.lines(whole, "stdout", time).slice()),
    piece: (part) => parts.push(encoding.piece(part, "stdout", time).slice()),
  });
  for (const chunk of chunks) {
    const own = chunk.slice();
    lines.take(own);
    // The array is the reader's again.
    own.fill(0x21);
    expect(lines.held).toBeLessThanOrEqual(LINE_BYTES);
  }
  lines.end();
  expect(lines.held).toBe(0);
  return Buffer.concat(parts);
}

interface Entry {
  log: string;
  stream: string;
  time: string;
}

const parsed = (entries: Uint8Array) =>
  Buffer.from(entries)
    .toString()
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Entry);

describe("JSON lines", () => {
  test("are docker's, byte for byte", () => {
    expect(text([encode(encodings.json, [bytes("hello\nworld\n")])])).toBe(
      `{"log":"hello\\n","stream":"stdout","time":"${time}"}\n{"log":"world\\n","stream":"stdout","time":"${time}"}\n`,
    );
  });

  test.each([
    ["plain", "one\ntwo\n\n\nthree\n"],
    ["quotes", 'say "hi"\n"\n""\n'],
    ["backslashes", "C:\\new\\table\n\\n\n\\\n\\\\n\\\n"],
    ["backslashes and newlines of JSON", '{"a":"b\\nc"}\n'],
    ["control characters", "a\tb\rc\u0000d\u001be\u007f\n\u0008\n"],
    ["characters", "äöü € 𝄞 \u2028 \ufeff\n\ufeffx\n"],
    ["dollars", "$& $1 $$ $` $'\n"],
    ["what looks like our own glue", '","stream":"stderr","time":"x"}\n{"log":"\n'],
  ])("keep %s", (_, content) => {
    const entries = parsed(encode(encodings.json, [bytes(content)]));
    expect(entries.map(({ log }) => log).join("")).toBe(content);
    expect(entries).toHaveLength(content.split("\n").length - 1);
    for (const entry of entries) expect({ ...entry, log: "" }).toEqual({ log: "", stream: "stdout", time });
  });

  test("are valid whatever the bytes are", () => {
    const all = Uint8Array.from({ length: 4096 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
    const entries = parsed(encode(encodings.json, [all]));
    expect(entries.map(({ log }) => log).join("")).toBe(new TextDecoder("utf-8", { ignoreBOM: true }).decode(all));
  });

  test("of a last line without a newline have none", () => {
    expect(parsed(encode(encodings.json, [bytes("a\nb")])).map(({ log }) => log)).toEqual(["a\n", "b"]);
  });
});

describe("CRI entries", () => {
  test("tell streams and parts", () => {
    expect(text([encode(encodings.cri, [bytes("one\n\ntwo")])])).toBe(
      `${time} stdout F one\n${time} stdout F \n${time} stdout P two\n`,
    );
  });

  test("keep bytes that are no UTF-8", () => {
    const odd = Uint8Array.of(0xff, 0x0a, 0xc3, 0x0a, 0xef, 0xbb, 0xbf, 0x24, 0x26, 0x0a);
    const entries = Buffer.from(encode(encodings.cri, [odd]));
    expect(entries.toString("latin1")).toBe(
      `${time} stdout F \xff\n${time} stdout F \xc3\n${time} stdout F \xef\xbb\xbf$&\n`,
    );
  });
});

describe("lines", () => {
  const long = `${"x".repeat(LINE_BYTES)}|${"y".repeat(LINE_BYTES - 1)}${"z".repeat(100)}`;
  const cases: [string, string][] = [
    ["short", "a\nbb\nccc\n"],
    ["empty", "\n\n\n"],
    ["as long as they may be", `${"x".repeat(LINE_BYTES)}\n${"y".repeat(LINE_BYTES)}\nend\n`],
    ["longer", `start\n${long}\nend\n${long}`],
    ["longer, of wide characters", `${"€".repeat(20_000)}\nend\n`],
    ["endless", "x".repeat(5 * LINE_BYTES + 3)],
  ];
  for (const [name, content] of cases) {
    test(`that are ${name} are the same however they are read`, () => {
      for (const size of [1, 3, 1000, LINE_BYTES, LINE_BYTES + 1, 1 << 20]) {
        // Byte by byte is slow for the long ones.
        if (size < 1000 && content.length > 1000) continue;
        const whole = bytes(content);
        const chunks = Array.from({ length: Math.ceil(whole.length / size) }, (_, i) =>
          whole.subarray(i * size, (i + 1) * size),
        );
        const entries = parsed(encode(encodings.json, chunks));
        expect(entries.map(({ log }) => log).join("")).toBe(content);
        for (const { log } of entries) expect(bytes(log).length).toBeLessThanOrEqual(LINE_BYTES + 1);
      }
    });
  }

  test("what entries stand for is counted", () => {
    for (const format of ["json", "cri", "raw"] as const) {
      const content = bytes('one\n"tw€"\n\n\\three\nfour');
      expect(encodings[format].payload(encode(encodings[format], [content]))).toBe(content.length);
    }
  });
});
