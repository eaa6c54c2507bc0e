/** Random frames, whole and broken, against the frame decoder; a second, simple reading of the bytes is the judge. */

import { FrameDecoder, HEADER_SIZE, MAX_PAYLOAD } from "../../proto/ttrpc/frame.ts";
import { frameOf } from "../unit/proto/ttrpc/wire.ts";
import { Random } from "./ttrpc-random.ts";

/** The limit in force: small in most rounds, so that oversized frames are as frequent as others. */
const SMALL_LIMIT = 300;

interface Event {
  readonly kind: "frame" | "oversized";
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
  readonly length: number;
  readonly sum: number;
}

function sumOf(bytes: Uint8Array): number {
  let sum = bytes.length;
  for (const byte of bytes) sum = (Math.imul(sum, 31) + byte) >>> 0;
  return sum;
}

/** What the bytes say, read all at once. */
function judge(bytes: Uint8Array, limit: number): Event[] {
  const events: Event[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + HEADER_SIZE <= bytes.length; ) {
    const length = view.getUint32(at);
    const streamId = view.getUint32(at + 4);
    const type = view.getUint8(at + 8);
    const flags = view.getUint8(at + 9);
    at += HEADER_SIZE;
    if (length > limit) {
      events.push({ kind: "oversized", streamId, type, flags, length, sum: 0 });
    } else if (type >= 1 && type <= 3 && at + length <= bytes.length) {
      const sum = sumOf(bytes.subarray(at, at + length));
      events.push({ kind: "frame", streamId, type, flags, length, sum });
    }
    at += length;
  }
  return events;
}

/** One connection's worth of bytes, and how many inputs are in it. */
function generate(random: Random, limit: number): { bytes: Uint8Array; inputs: number } {
  const parts: Uint8Array[] = [];
  const inputs = 1 + random.below(20);
  for (let i = 0; i < inputs; i++) {
    const streamId = random.oneIn(4) ? random.u32() : random.below(100);
    const type = random.oneIn(5) ? random.below(256) : 1 + random.below(3);
    const size = random.oneIn(5) ? limit + random.below(200) : random.below(random.pick([5, 50, limit]));
    let part = frameOf(streamId, type, random.below(256), random.bytes(size));
    if (random.oneIn(6)) part = random.mutate(part);
    if (random.oneIn(30)) part = random.bytes(random.below(50));
    parts.push(part);
  }
  const bytes = Buffer.concat(parts);
  return { bytes: random.oneIn(3) ? bytes.subarray(0, random.below(bytes.length + 1)) : bytes, inputs };
}

/**
 * Feeds `inputs` frames or more to decoders, in chunks of all sizes, some with pauses.
 * @throws Error with the round, when the decoder reads something else than the judge, throws, or holds too much
 */
export function fuzzDecoder(seed: number, inputs: number): number {
  const random = new Random(seed);
  let done = 0;
  for (let round = 0; done < inputs; round++) {
    const limit = random.oneIn(50) ? MAX_PAYLOAD : SMALL_LIMIT;
    const { bytes, inputs: count } = generate(random, SMALL_LIMIT);
    done += count;
    const expected = judge(bytes, limit);
    const got: Event[] = [];
    const pausing = random.oneIn(4);
    const decoder = new FrameDecoder(
      {
        frame: (streamId, type, flags, payload) => {
          got.push({ kind: "frame", streamId, type, flags, length: payload.length, sum: sumOf(payload) });
          if (pausing && random.oneIn(2)) decoder.pause();
        },
        oversized: (streamId, type, flags, length) =>
          got.push({ kind: "oversized", streamId, type, flags, length, sum: 0 }),
      },
      limit,
    );
    const fail = (what: string): never => {
      throw new Error(`seed ${seed}, round ${round}: ${what}\nbytes ${Buffer.from(bytes).toString("hex")}`);
    };
    for (const chunk of random.split(bytes)) {
      for (let taken = 0; ; ) {
        const step = decoder.push(chunk.subarray(taken));
        taken += step;
        if (decoder.held > Math.max(2 * bytes.length, 16 << 10)) fail(`${decoder.held} bytes are held`);
        if (taken === chunk.length) break;
        if (!pausing) fail("bytes were left without a pause");
        decoder.resume();
      }
      decoder.resume();
    }
    if (!Bun.deepEquals(got, expected)) fail(`read ${JSON.stringify(got)}\nnot ${JSON.stringify(expected)}`);
  }
  return done;
}
