import { describe, expect, test } from "bun:test";
import { encodeFrame, FrameDecoder, HEADER_SIZE, MAX_PAYLOAD } from "../../../../proto/ttrpc/frame.ts";
import { frameOf, hex } from "./wire.ts";

/** What a decoder makes of the chunks, one line per event. */
function decode(chunks: Iterable<Uint8Array>): string[] {
  const events: string[] = [];
  const decoder = new FrameDecoder({
    frame: (id, type, flags, payload) => events.push(`${id} ${type} ${flags} ${Buffer.from(payload).toString("hex")}`),
    oversized: (id, type, flags, length) => events.push(`${id} ${type} ${flags} too large: ${length}`),
  });
  for (const chunk of chunks) expect(decoder.push(chunk)).toBe(chunk.length);
  return events;
}

function* split(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const wire = hex(`
  00000003 00000001 01 00 aabbcc
  00000000 00000003 03 05
  00000001 fffffffd 02 ff 7f
  00000004 00000002 09 00 01020304
  00000002 00000005 03 01 dead`);
const events = ["1 1 0 aabbcc", "3 3 5 ", "4294967293 2 255 7f", "5 3 1 dead"];

describe("frames", () => {
  test("TT-1 a frame is a 10-byte big endian header and its payload", () => {
    expect(encodeFrame(0x01020305, 3, 5, hex("a1 b2"))).toEqual(hex("00000002 01020305 03 05 a1b2"));
    expect(encodeFrame(1, 3, 5)).toEqual(hex("00000000 00000001 03 05"));
    expect(encodeFrame(0xffffffff, 2, 0).slice(4, 8)).toEqual(hex("ffffffff"));
  });

  for (const size of [1, 2, 3, 9, 10, 11, 13, wire.length]) {
    test(`TT-1 TT-3 frames in ${size}-byte chunks are the same frames, unknown types skipped`, () => {
      expect(decode(split(wire, size))).toEqual(events);
    });
  }

  test("TT-2 a payload of exactly 4 MiB is a frame, in one chunk or many", () => {
    const payload = new Uint8Array(MAX_PAYLOAD).fill(7);
    for (const size of [65_536, 1_000_003, MAX_PAYLOAD + HEADER_SIZE]) {
      let got: Uint8Array | undefined;
      const decoder = new FrameDecoder({
        frame: (_id, _type, _flags, bytes) => {
          got = bytes;
        },
        oversized: () => expect.unreachable(),
      });
      for (const chunk of split(frameOf(1, 1, 0, payload), size)) decoder.push(chunk);
      expect(got?.length).toBe(MAX_PAYLOAD);
      expect(got?.every((byte) => byte === 7)).toBe(true);
      expect(decoder.held).toBe(0);
    }
  });

  test("TT-2 a larger payload is reported by its header, discarded unheld, and the next frame is read", () => {
    for (const type of [1, 3]) {
      const large = frameOf(9, type, 2, new Uint8Array(MAX_PAYLOAD + 1));
      const next = frameOf(11, 1, 0, hex("55"));
      const got: string[] = [];
      let held = 0;
      const decoder = new FrameDecoder({
        frame: (id) => got.push(`frame ${id}`),
        oversized: (id, _type, flags, length) => got.push(`large ${id} ${flags} ${length}`),
      });
      for (const chunk of split(Buffer.concat([large, next]), 4096)) {
        decoder.push(chunk);
        held = Math.max(held, decoder.held);
      }
      expect(got).toEqual([`large 9 2 ${MAX_PAYLOAD + 1}`, "frame 11"]);
      expect(held).toBe(0);
    }
  });

  test("TT-2 the largest length that a header can say is discarded, not allocated", () => {
    expect(decode([hex("ffffffff 00000007 01 00"), new Uint8Array(100_000)])).toEqual(["7 1 0 too large: 4294967295"]);
  });

  test("memory follows the bytes that came, not the length that a header claims", () => {
    const decoder = new FrameDecoder({ frame: () => expect.unreachable(), oversized: () => expect.unreachable() });
    decoder.push(hex("00400000 00000001 01 00 01"));
    expect(decoder.held).toBeLessThanOrEqual(16 << 10);
    expect(decoder.atBoundary).toBe(false);
    for (let i = 0; i < 20; i++) decoder.push(new Uint8Array(5000));
    expect(decoder.held).toBeLessThanOrEqual(2 * 100_001);
  });

  test("a pause holds back the very next frame, a resume hands it over", () => {
    const got: number[] = [];
    const decoder = new FrameDecoder({
      frame: (id) => {
        got.push(id);
        decoder.pause();
      },
      oversized: () => expect.unreachable(),
    });
    const bytes = Buffer.concat([1, 3, 5].map((id) => frameOf(id, 3, 0, hex("0102"))));
    let at = 0;
    for (const expected of [[1], [1, 3], [1, 3, 5]]) {
      at += decoder.push(bytes.subarray(at));
      expect(got).toEqual(expected);
      expect(decoder.push(bytes.subarray(at))).toBe(0);
      decoder.resume();
    }
    expect(at).toBe(bytes.length);
  });
});
