/** R29: patches of layers: what comes out is what went in, however the two differ; and what is hostile is refused. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { constants, zstdCompressSync } from "node:zlib";
import { applyPatch, readHeader } from "../../../../supervisor/delta/patch/apply.ts";
import { WindowBase } from "../../../../supervisor/delta/patch/base.ts";
import { PatchError } from "../../../../supervisor/delta/patch/error.ts";
import { HEADER_BYTES, MAGIC } from "../../../../supervisor/delta/patch/layout.ts";
import { makePatch } from "../../../../supervisor/delta/patch/make.ts";
import { NumberReader, NumberWriter } from "../../../../supervisor/delta/patch/varint.ts";
import { Random } from "../../../lib/random.ts";

// Packing by the best level takes a while where others work, too.
setDefaultTimeout(60_000);

function noise(length: number, seed: number): Buffer {
  return Buffer.from(new Random(seed).bytes(length));
}

function patchOf(old: Buffer, fresh: Buffer): Buffer {
  const parts: Buffer[] = [];
  const { header } = makePatch(bytes(old), bytes(fresh), (part) => parts.push(Buffer.from(part)));
  return Buffer.concat([header, ...parts]);
}

function bytes(buffer: Buffer) {
  return {
    size: buffer.length,
    read(offset: number, into: Uint8Array): void {
      if (offset < 0 || offset + into.length > buffer.length) throw new Error("read outside");
      into.set(buffer.subarray(offset, offset + into.length));
    },
  };
}

/** Applies a patch, in bounded memory. @param most bytes that may come out */
function apply(old: Buffer, patch: Buffer, most = 64 << 20): Buffer {
  let at = 0;
  const read = (length: number): Buffer => {
    if (at + length > patch.length) throw new PatchError("the patch is cut off");
    at += length;
    return patch.subarray(at - length, at);
  };
  const header = readHeader(read);
  if (header.reach > 64 << 20) throw new PatchError("reach");
  let given = 0;
  const next = (into: Buffer, from: number, to: number): number => {
    const count = Math.min(to - from, old.length - given, 10_000);
    old.copy(into, from, given, given + count);
    given += count;
    return count;
  };
  const parts: Buffer[] = [];
  let size = 0;
  applyPatch(header, read, new WindowBase(next, old.length, header.reach), (part) => {
    size += part.length;
    if (size > most) throw new Error("too much came out");
    parts.push(Buffer.from(part));
  });
  return Buffer.concat(parts);
}

const old = noise(1_500_000, 7);
const changed = (edit: (copy: Buffer) => void): Buffer => {
  const copy = Buffer.from(old);
  edit(copy);
  return copy;
};

const cases: readonly (readonly [name: string, old: Buffer, fresh: Buffer, most: number])[] = [
  ["nothing is changed", old, old, 200],
  ["one byte is changed", old, changed((copy) => copy.writeUInt8(copy.readUInt8(70_000) ^ 1, 70_000)), 200],
  [
    "the first and the last byte are changed",
    old,
    changed((c) => c.fill(c.readUInt8(0) ^ 1, 0, 1).fill(0, c.length - 1)),
    300,
  ],
  ["a hundredth in one place is new", old, changed((copy) => noise(15_000, 9).copy(copy, 400_000)), 15_600],
  [
    "every thousandth byte is changed",
    old,
    changed((c) => {
      for (let i = 0; i < c.length; i += 1000) c[i] = (c[i] ?? 0) ^ 1;
    }),
    8000,
  ],
  [
    "something is added and something removed",
    old,
    Buffer.concat([old.subarray(0, 99_999), noise(777, 3), old.subarray(101_000)]),
    1200,
  ],
  ["the halves are exchanged", old, Buffer.concat([old.subarray(700_001), old.subarray(0, 700_001)]), 300],
  ["all is new", old, noise(200_000, 77), 201_000],
  ["there was nothing", Buffer.alloc(0), noise(50_000, 5), 51_000],
  ["there is nothing any more", old, Buffer.alloc(0), 100],
  ["there are only zeros", Buffer.alloc(300_000), Buffer.alloc(400_001), 400],
  ["it repeats itself", Buffer.from("abcdefgh".repeat(40_000)), Buffer.from("abcdefgh".repeat(50_000)), 400],
];
for (const [name, from, to, most] of cases) {
  test(`R29: a patch is short and right when ${name}`, () => {
    const patch = patchOf(from, to);
    expect(patch.length).toBeLessThanOrEqual(most);
    expect(apply(from, patch).equals(to)).toBe(true);
  });
}

test("R29: patches of random changes are right", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = new Random(seed);
    const roll = (): number => random.next();
    const base = noise(20_000 + Math.floor(roll() * 150_000), seed);
    const parts: Buffer[] = [];
    for (let left = 1 + Math.floor(roll() * 20); left > 0; left--) {
      const from = Math.floor(roll() * base.length);
      const length = Math.floor(roll() ** 2 * (base.length - from));
      if (roll() < 0.7) parts.push(base.subarray(from, from + length));
      else parts.push(noise(Math.floor(roll() * 5000), seed + left));
    }
    const fresh = Buffer.concat(parts);
    expect(apply(base, patchOf(base, fresh)).equals(fresh)).toBe(true);
  }
});

test("R29: like text packs by what was in its place", () => {
  const lines = Array.from({ length: 3000 }, (_, i) => `line ${i}: ${noise(12, i + 1).toString("hex")}\n`);
  const before = Buffer.from(lines.join(""));
  // Every line is new, and most of it is not.
  const after = Buffer.from(lines.map((line) => line.replace(":", ";")).join(""));
  const patch = patchOf(before, after);
  expect(patch.length).toBeLessThan(after.length / 8);
  expect(apply(before, patch).equals(after)).toBe(true);
});

test("numbers of every length are read as they were written", () => {
  const writer = new NumberWriter();
  const values = [0, 1, 127, 128, 300, 2 ** 31, 2 ** 32 + 5, Number.MAX_SAFE_INTEGER];
  for (const value of values) writer.put(value);
  for (const value of [-1, 0, 1, -(2 ** 40)]) writer.putSigned(value);
  const reader = new NumberReader(writer.take());
  expect(values.map(() => reader.next())).toEqual(values);
  expect([0, 0, 0, 0].map(() => reader.nextSigned())).toEqual([-1, 0, 1, -(2 ** 40)]);
  expect(reader.isAtEnd).toBe(true);
  expect(() => reader.next()).toThrow("cut off");
  expect(() => new NumberReader(Buffer.alloc(12, 255)).next()).toThrow("too large");
});

interface Forged {
  readonly newSize?: number;
  readonly oldSize?: number;
  readonly reach?: number;
  readonly operations?: (numbers: NumberWriter) => void;
  readonly literals?: Buffer;
  /** What the frame says of its lengths, where that is not true. */
  readonly sizes?: readonly number[];
}

/** A patch of one frame, right in form. */
function forge(what: Forged): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  for (const [i, value] of [what.newSize ?? 100, what.oldSize ?? 1000, what.reach ?? 0].entries()) {
    header.writeBigUInt64LE(BigInt(value), MAGIC.length + i * 8);
  }
  const numbers = new NumberWriter();
  what.operations?.(numbers);
  const operations = numbers.take();
  const packed = zstdCompressSync(operations);
  const literals = what.literals ?? Buffer.alloc(0);
  const options = { params: { [constants.ZSTD_c_compressionLevel]: 3 }, dictionary: Buffer.alloc(8) };
  const packedLiterals = literals.length === 0 ? literals : zstdCompressSync(literals, options);
  const sizes = Buffer.alloc(16);
  const told = what.sizes ?? [operations.length, packed.length, literals.length, packedLiterals.length];
  for (const [i, size] of told.entries()) sizes.writeUInt32LE(size, i * 4);
  return Buffer.concat([header, sizes, packed, packedLiterals, Buffer.alloc(16)]);
}

const copies = (offset: number, length: number) => (numbers: NumberWriter) => {
  numbers.put(0);
  numbers.put(length * 2 + 1);
  numbers.putSigned(offset);
};
const hostile: Readonly<Record<string, Forged>> = {
  "copies from behind the end": { operations: copies(950, 100) },
  "copies from before the beginning": { operations: copies(-1, 100) },
  "copies from far outside": { operations: copies(2 ** 50, 100) },
  "makes more than it says": { operations: copies(0, 101) },
  "makes less than it says": { operations: copies(0, 99) },
  "makes petabytes": { newSize: 100, operations: copies(0, 2 ** 50) },
  "is for other layers": { oldSize: 999, operations: copies(0, 100) },
  "takes literals that are not there": {
    operations: (n) => {
      n.put(0);
      n.put(100 * 2);
    },
  },
  "has literals that nobody takes": { operations: copies(0, 100), literals: Buffer.alloc(5) },
  "has a dictionary of gigabytes": {
    operations: (n) => {
      n.put(1);
      n.putSigned(0);
      n.put(2 ** 31);
    },
  },
  "has a dictionary of many places": {
    oldSize: 1000,
    operations: (n) => {
      n.put(2 ** 40);
      for (let i = 0; i < 100_000; i++) {
        n.putSigned(i === 0 ? 0 : -900);
        n.put(900);
      }
    },
  },
  "goes back further than it says": {
    newSize: 400_000,
    oldSize: 1_000_000,
    operations: (n) => {
      n.put(0);
      n.put(200_000 * 2 + 1);
      n.putSigned(800_000);
      n.put(200_000 * 2 + 1);
      n.putSigned(-1_000_000);
    },
  },
  "ends in an operation": {
    operations: (n) => {
      n.put(0);
      n.put(100 * 2 + 1);
    },
  },
  "has a frame of gigabytes": { sizes: [2 ** 32 - 1, 100, 0, 0] },
  "has literals of gigabytes": { operations: copies(0, 100), sizes: [5, 14, 2 ** 32 - 1, 10] },
  "has packed operations without an end": { operations: copies(0, 100), sizes: [5, 2 ** 31, 0, 0] },
};
for (const [name, what] of Object.entries(hostile)) {
  test(`R29: a patch that ${name} is refused`, () => {
    const size = name.startsWith("goes back") ? 1_000_000 : 1000;
    expect(() => apply(Buffer.alloc(size, 1), forge(what), 1 << 20)).toThrow(PatchError);
  });
}

test("R29: a bomb of zstd is refused before it is unpacked", () => {
  const bomb = zstdCompressSync(Buffer.alloc(64 << 20));
  const header = forge({}).subarray(0, HEADER_BYTES);
  const sizes = Buffer.alloc(16);
  for (const [i, size] of [1000, bomb.length, 0, 0].entries()) sizes.writeUInt32LE(size, i * 4);
  expect(() => apply(Buffer.alloc(1000), Buffer.concat([header, sizes, bomb, Buffer.alloc(16)]))).toThrow(PatchError);
});

test("R29: a patch that is cut off or changed anywhere is refused, or makes other bytes of the same length", () => {
  const from = noise(30_000, 1);
  const to = Buffer.concat([from.subarray(0, 9000), noise(500, 2), from.subarray(12_000)]);
  const patch = patchOf(from, to);
  for (let length = 0; length < patch.length; length += 29) {
    expect(() => apply(from, patch.subarray(0, length))).toThrow(PatchError);
  }
  for (let at = 0; at < patch.length; at += 11) {
    const broken = Buffer.from(patch);
    broken[at] = (broken[at] ?? 0) ^ 0x55;
    try {
      expect(apply(from, broken).length).toBe(to.length);
    } catch (error) {
      expect(error).toBeInstanceOf(PatchError);
    }
  }
});

test("what is no patch is told so", () => {
  expect(() => apply(old, noise(1000, 1))).toThrow("no patch");
});
