/** Every format of a tar header, and what no honest program writes. */

import { describe, expect, test } from "bun:test";
import { ArchiveError, type Entry } from "../../../../supervisor/diff/tar/entry.ts";
import { TarReader } from "../../../../supervisor/diff/tar/reader.ts";
import { archive, entry, long, pax, paxRecord, raw } from "../../../lib/archive.ts";

interface Read {
  entry: Entry;
  content: string;
}

/** Reads an archive that comes in steps of this many bytes. */
function read(bytes: Uint8Array, step = 1 << 20): Read[] {
  let at = 0;
  const reader = new TarReader((buffer, from, to) => {
    const count = Math.min(step, to - from, bytes.length - at);
    buffer.set(bytes.subarray(at, at + count), from);
    at += count;
    return count;
  });
  const found: Read[] = [];
  for (let next = reader.next(); next !== undefined; next = reader.next()) {
    const parts: string[] = [];
    if (next.type === "file") reader.content((buffer, from, to) => parts.push(buffer.toString("latin1", from, to)));
    found.push({ entry: next, content: parts.join("") });
  }
  return found;
}

const names = (bytes: Uint8Array): string[] => read(bytes).map(({ entry: { name } }) => name);
const first = (bytes: Uint8Array): Read => {
  const [found] = read(bytes);
  if (found === undefined) throw new Error("no entry");
  return found;
};
const refused = (bytes: Uint8Array): string => {
  try {
    read(bytes);
  } catch (error) {
    if (error instanceof ArchiveError) return error.message;
    throw error;
  }
  throw new Error("it was read");
};

describe("headers", () => {
  test("all fields of ustar", () => {
    const bytes = archive(
      entry({ name: "f", mode: 0o4755, uid: 1000, gid: 1001, mtime: 1234567890, body: "hello", prefix: "a/b" }),
      entry({ name: "c", type: "3", major: 10, minor: 229 }),
      entry({ name: "l", type: "2", target: "f" }),
    );
    for (const step of [1, 511, 513, 1 << 20]) {
      const [file, device, link] = read(bytes, step);
      expect(file?.entry).toMatchObject({
        type: "file",
        name: "a/b/f",
        mode: 0o4755,
        uid: 1000,
        gid: 1001,
        size: 5,
        modified: { seconds: 1234567890, nanoseconds: 0 },
      });
      expect(file?.content).toBe("hello");
      expect(device?.entry).toMatchObject({ type: "character", major: 10, minor: 229 });
      expect(link?.entry).toMatchObject({ type: "symlink", target: "f" });
    }
  });

  test("every type, and one that nobody knows", () => {
    const types = ["0", "\0", "7", "1", "2", "3", "4", "5", "6", "Z"];
    expect(
      read(archive(...types.map((type) => entry({ name: "n", type })))).map(({ entry: { type } }) => type),
    ).toEqual([
      ...["file", "file", "file", "link", "symlink", "character", "block", "directory", "fifo", "unknown"],
    ] as Entry["type"][]);
  });

  test("V7: no magic, a slash at the end makes a directory", () => {
    const { entry: directory } = first(archive(entry({ name: "d/", type: "\0", format: "v7" })));
    expect(directory).toMatchObject({ type: "directory", name: "d/", major: 0 });
  });

  test("numbers in base 256, also negative", () => {
    const found = first(archive(entry({ name: "f", uid: 0x7fffffff, gid: 4_000_000_000, mtime: -5, format: "gnu" })));
    expect(found.entry).toMatchObject({ uid: 0x7fffffff, gid: 4_000_000_000, modified: { seconds: -5 } });
  });

  test("names are bytes: no text is made of them", () => {
    expect(names(archive(entry({ name: "\xff\xfe/\x80" })))).toEqual(["\xff\xfe/\x80"]);
  });

  test("signed checksums of old programs are right too", () => {
    const block = entry({ name: "\xff\xff", edit: () => undefined });
    const signed = block.reduce(
      (sum, byte, i) => (i >= 148 && i < 156 ? sum + 0x20 : sum + (byte > 127 ? byte - 256 : byte)),
      0,
    );
    block.write(`${signed.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    expect(names(archive(block))).toEqual(["\xff\xff"]);
  });

  test("wrong ones are refused", () => {
    expect(refused(archive(entry({ name: "f", wrongBy: 1 })))).toStartWith("header with the checksum");
    expect(refused(archive(entry({ name: "f", size: -1 })))).toBe("entry with the negative size -1");
    expect(refused(archive(entry({ name: "f", edit: (block) => block.write("9zz", 124) })))).toContain("size");
    const huge = entry({ name: "f", edit: (block) => block.fill(0x7f, 125, 136).fill(0x80, 124, 125) });
    expect(refused(archive(huge))).toContain("size");
  });
});

describe("ends", () => {
  const file = entry({ name: "f", body: "x".repeat(600) });

  test("with one block of zeros, with none, and without the last padding", () => {
    for (const bytes of [Buffer.concat([file, Buffer.alloc(512)]), file, file.subarray(0, 512 + 600)]) {
      expect(names(bytes)).toEqual(["f"]);
    }
    expect(names(Buffer.alloc(0))).toEqual([]);
  });

  test("in the middle of something are refused", () => {
    expect(refused(file.subarray(0, 700))).toBe("archive ends within a file");
    expect(refused(file.subarray(0, 100))).toBe("archive ends within a header");
    expect(refused(pax({ path: "x" }))).toBe("archive ends after an extended header");
    expect(refused(pax({ path: "x" }).subarray(0, 515))).toBe("archive ends within an extended header");
    expect(refused(Buffer.concat([file, Buffer.alloc(512), file]))).toBe("entry after a block of zeros");
  });
});

describe("long names", () => {
  const name = `${"d".repeat(90)}/${"e".repeat(90)}/${"f".repeat(90)}`;

  test("of GNU, for names and targets", () => {
    const bytes = archive(long("L", name), long("K", `${name}x`), entry({ name: "cut", type: "2", format: "gnu" }));
    expect(first(bytes).entry).toMatchObject({ name, target: `${name}x` });
  });

  test("of pax, and of several kinds at once GNU's counts", () => {
    expect(names(archive(pax({ path: name }), entry({ name: "cut" })))).toEqual([name]);
    expect(names(archive(pax({ path: "a" }), long("L", "b"), entry({ name: "c" })))).toEqual(["b"]);
    expect(first(archive(pax({ linkpath: name }), entry({ name: "l", type: "1" }))).entry.target).toBe(name);
  });

  test("are limited", () => {
    expect(refused(archive(entry({ name: "x", type: "x", size: 2 << 20 })))).toContain("the limit is 1048576");
    expect(refused(archive(entry({ name: "x", type: "L", size: 2 << 20 })))).toContain("the limit is 1048576");
  });
});

describe("pax", () => {
  test("records replace what the header says", () => {
    const records = { size: "3", uid: "70000", gid: "80000", mtime: "1500000000.123456789", atime: "-1.5" };
    const found = first(archive(pax(records), entry({ name: "f", size: 0, body: "abc" })));
    expect(found.content).toBe("abc");
    expect(found.entry).toMatchObject({
      uid: 70000,
      gid: 80000,
      modified: { seconds: 1500000000, nanoseconds: 123456789 },
      accessed: { seconds: -2, nanoseconds: 500000000 },
    });
  });

  test("attributes may hold any byte", () => {
    const { attributes } = first(archive(pax({ "SCHILY.xattr.user.a": "\0\xff=\n" }), entry({ name: "f" }))).entry;
    expect([...attributes]).toEqual([["user.a", "\0\xff=\n"]]);
  });

  test("are of one entry only; global ones of none, as in containerd", () => {
    expect(names(archive(pax({ path: "a" }), entry({ name: "b" }), entry({ name: "c" })))).toEqual(["a", "c"]);
    expect(
      read(archive(pax({ path: "a" }, true), entry({ name: "b" }))).map(({ entry: { type, name } }) => [type, name]),
    ).toEqual([
      ["global", "PaxHeaders.0/x"],
      ["file", "b"],
    ]);
  });

  test("bad ones are refused", () => {
    const bad = (body: string): string => refused(archive(entry({ name: "x", type: "x", body }), entry({ name: "f" })));
    for (const body of ["5 a=b\n", "999999 a=b\n", "a=b\n", "6 ab\n", "6 a=bc", " a=b\n", "-6 a=b\n", "5 =b\n\n"]) {
      expect(bad(body)).toContain("bad record");
    }
    expect(bad(paxRecord("path", "a\0b"))).toContain("NUL");
    expect(bad(paxRecord("a\0b", "c"))).toContain("NUL");
    expect(bad(paxRecord("size", "-1"))).toContain("size");
    expect(bad(paxRecord("size", "99999999999999999999"))).toContain("size");
    expect(bad(paxRecord("mtime", "soon"))).toContain("mtime");
  });
});

describe("sparse files", () => {
  const expected = {
    size: 5000,
    segments: [
      { offset: 1024, length: 4 },
      { offset: 4000, length: 3 },
    ],
  };
  const body = "abcdefg";

  test("of old GNU, also with more parts than the header holds", () => {
    const octal = (value: number): string => `${value.toString(8).padStart(11, "0")}\0`;
    const header = (parts: [number, number][], more: boolean, size: number, content: Uint8Array | string) =>
      entry({
        ...{ name: "s", type: "S", format: "gnu", body: content },
        edit: (block) => {
          for (const [i, [offset, length]] of parts.entries()) {
            block.write(octal(offset) + octal(length), 386 + 24 * i, "latin1");
          }
          block[482] = more ? 1 : 0;
          block.write(octal(size), 483, "latin1");
        },
      });
    const small = first(
      archive(
        header(
          [
            [1024, 4],
            [4000, 3],
          ],
          false,
          5000,
          body,
        ),
      ),
    );
    expect(small.entry).toMatchObject(expected);
    expect(small.content).toBe(body);

    const block = Buffer.alloc(512);
    const parts = Array.from({ length: 10 }, (_, i): [number, number] => [i * 100, 1]);
    for (const [i, [offset, length]] of parts.slice(4).entries()) {
      block.write(octal(offset) + octal(length), 24 * i, "latin1");
    }
    const content = "0123456789";
    const large = header(parts.slice(0, 4), true, 2000, content);
    const bytes = archive(large.subarray(0, 512), block, large.subarray(512), entry({ name: "after" }));
    for (const step of [7, 1 << 20]) {
      const [found, after] = read(bytes, step);
      expect(found?.entry.segments).toHaveLength(10);
      expect(found?.content).toBe(content);
      expect(after?.entry.name).toBe("after");
    }
  });

  test("of pax 0.0, 0.1 and 1.0", () => {
    const v00 = pax([
      ["GNU.sparse.size", "5000"],
      ["GNU.sparse.numblocks", "2"],
      ["GNU.sparse.offset", "1024"],
      ["GNU.sparse.numbytes", "4"],
      ["GNU.sparse.offset", "4000"],
      ["GNU.sparse.numbytes", "3"],
    ]);
    const v01 = pax({ "GNU.sparse.size": "5000", "GNU.sparse.map": "1024,4,4000,3", "GNU.sparse.name": "s" });
    const v10 = pax({
      ...{ "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", "GNU.sparse.realsize": "5000" },
    });
    const map = raw("2\n1024\n4\n4000\n3\n".padEnd(512, "\0"));
    const contents = [
      archive(v00, entry({ name: "s", body })),
      archive(v01, entry({ name: "GNUSparseFile.0/s", body })),
      archive(v10, entry({ name: "GNUSparseFile.0/s", body: Buffer.concat([map, raw(body)]) })),
    ];
    for (const bytes of contents) {
      expect(first(bytes).entry).toMatchObject({ name: "s", ...expected });
      expect(first(bytes).content).toBe(body);
    }
  });

  test("whose maps do not fit are refused", () => {
    const map = (text: string, size = "5000"): string =>
      refused(archive(pax({ "GNU.sparse.size": size, "GNU.sparse.map": text }), entry({ name: "s", body })));
    expect(map("4000,3,1024,4")).toContain("out of place");
    expect(map("0,4,2,3")).toContain("out of place");
    expect(map("1024,4,4998,3")).toContain("out of place");
    expect(map("1024,4")).toContain("for a content of 7");
    expect(map("1024,4,4000")).toContain("odd");
    expect(map("1024,-4")).toContain("sparse length");
    expect(map(`0,7${",7,0".repeat(70_000)}`)).toContain("more than 65536 parts");
    const v10 = pax({ "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9" });
    expect(refused(archive(v10, entry({ name: "s", body: "9".repeat(512) })))).toContain("bad number");
    expect(refused(archive(v10, entry({ name: "s", body: raw("9999999\n".padEnd(512, "\0")) })))).toContain(
      "more than",
    );
  });
});
