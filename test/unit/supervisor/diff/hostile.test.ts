/** Layers that mean harm: each is refused with a clear error or applied harmlessly, and nothing is written outside. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { ContainerdError } from "../../../../proto/errdefs.ts";
import { Code } from "../../../../proto/ttrpc/status.ts";
import type { Mount } from "../../../../shim/linux/index.ts";
import { archive, entry, long, pax } from "../../../lib/archive.ts";
import { Place, skipped } from "./fixture.ts";

const gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
const zstd = "application/vnd.oci.image.layer.v1.tar+zstd";

let place: Place;
let count = 0;
let outside: string;
const fresh = (): string => `t/${count++}`;

beforeAll(() => {
  place = new Place({
    ...{ bytes: 64 << 20, ratio: 200, ratioFrom: 1 << 20, entries: 2000, fileBytes: 1 << 30 },
    ...{ pathBytes: 1000, depth: 100, nameBytes: 100_000 },
  });
  outside = place.make("outside");
  writeFileSync(join(outside, "victim"), "safe");
});
afterAll(() => place[Symbol.dispose]());

/** Says how a layer was refused. */
async function refusal(bytes: Uint8Array, mounts: readonly Mount[], mediaType?: string): Promise<[Code, string]> {
  try {
    await place.apply(bytes, mounts, mediaType === undefined ? {} : { mediaType });
  } catch (error) {
    if (error instanceof ContainerdError) return [error.code, error.message];
    throw error;
  }
  throw new Error("it was applied");
}

/** Nothing outside has changed. */
function expectSafe(): void {
  expect(place.tree("outside")).toEqual(["victim"]);
  expect(readFileSync(join(outside, "victim"), "utf8")).toBe("safe");
  expect(place.see("outside/victim")).toMatchObject({ uid: 0, gid: 0 });
  expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(place.directory);
  expect(
    readdirSync(place.directory)
      .filter((name) => !name.startsWith("blob"))
      .sort(),
  ).toEqual(["mount", "outside", "t"]);
}

describe.skipIf(skipped !== undefined)("paths that lead out", () => {
  for (const kind of ["bind", "overlay"] as const) {
    test(`stay inside (${kind})`, async () => {
      const at = fresh();
      const up = "../".repeat(20);
      const target = `${up}${outside.slice(1)}`;
      const bytes = archive(
        ...[
          entry({ name: `${up}etc/evil`, body: "x" }),
          entry({ name: "/abs/evil", body: "x" }),
          entry({ name: "a/../../../b" }),
        ],
        pax({ path: `${target}/victim` }),
        entry({ name: "x", body: "evil" }),
        // Through links, absolute and relative, of this layer.
        ...[pax({ linkpath: outside }), entry({ name: "abs", type: "2" }), entry({ name: "abs/victim", body: "evil" })],
        ...[pax({ linkpath: target }), entry({ name: "rel", type: "2" }), entry({ name: "rel/victim2", body: "evil" })],
        ...[entry({ name: "rel/.wh.victim" }), entry({ name: "rel/.wh..wh..opq" })],
        ...[entry({ name: "self", type: "2", target: "/proc/self/root" }), entry({ name: "self/tmp/evil", body: "x" })],
        ...[entry({ name: "cwd", type: "2", target: "/proc/1/cwd" }), entry({ name: "cwd/evil", body: "x" })],
        // A directory that turns into a link, and back.
        ...[entry({ name: "d/", type: "5" }), entry({ name: "d/f" }), pax({ linkpath: outside })],
        ...[
          entry({ name: "d", type: "2" }),
          entry({ name: "d/victim", body: "evil", uid: 9 }),
          entry({ name: "d/", type: "5" }),
        ],
        ...[
          entry({ name: "d/victim", body: "inside" }),
          entry({ name: "..", type: "5" }),
          entry({ name: "/", type: "5" }),
        ],
      );
      await place.apply(bytes, kind === "bind" ? place.bind(at) : place.overlay(at, `${at}.lower`));
      expectSafe();
      expect(place.tree(at)).toContain("etc/evil");
      expect(readFileSync(join(place.directory, at, "d/victim"), "utf8")).toBe("inside");
    });
  }

  test("through links of the layer below (bind) are as harmless", async () => {
    const at = fresh();
    const mounts = place.bind(at);
    Bun.spawnSync(["ln", "-s", outside, join(place.directory, at, "old")]);
    await place.apply(archive(entry({ name: "old/victim", body: "evil" }), entry({ name: "old/.wh.victim" })), mounts);
    expectSafe();
  });

  test("of hard links find nothing outside", async () => {
    for (const target of [
      join(outside, "victim"),
      `${"../".repeat(20)}${outside.slice(1)}/victim`,
      "/etc/passwd",
      "missing",
    ]) {
      const [code, message] = await refusal(
        archive(pax({ linkpath: target }), entry({ name: "l", type: "1" })),
        place.bind(fresh()),
      );
      expect(code).toBe(Code.InvalidArgument);
      expect(message).toContain("no file that this layer has brought before");
    }
    const bytes = archive(
      pax({ linkpath: outside }),
      entry({ name: "d", type: "2" }),
      entry({ name: "l", type: "1", target: "d/victim" }),
    );
    expect((await refusal(bytes, place.bind(fresh())))[0]).toBe(Code.InvalidArgument);
    expectSafe();
  });

  test("of hard links forward, to themselves and to directories are refused", async () => {
    const forward = archive(entry({ name: "l", type: "1", target: "f" }), entry({ name: "f" }));
    const itself = archive(entry({ name: "l" }), entry({ name: "l", type: "1", target: "l" }));
    const directory = archive(entry({ name: "d/", type: "5" }), entry({ name: "l", type: "1", target: "d" }));
    const none = archive(entry({ name: "l", type: "1" }));
    for (const bytes of [forward, itself, directory, none]) {
      expect((await refusal(bytes, place.bind(fresh())))[0]).toBe(Code.InvalidArgument);
    }
  });

  test("of links in a circle are refused", async () => {
    const bytes = archive(
      ...[
        entry({ name: "a", type: "2", target: "b" }),
        entry({ name: "b", type: "2", target: "a" }),
        entry({ name: "a/f" }),
      ],
    );
    expect((await refusal(bytes, place.bind(fresh())))[1]).toContain("symbolic links");
  });

  test("through a file are refused", async () => {
    expect((await refusal(archive(entry({ name: "f" }), entry({ name: "f/g" })), place.bind(fresh())))[1]).toContain(
      "not a directory",
    );
  });
});

describe.skipIf(skipped !== undefined)("names", () => {
  test("of whiteouts that name nothing are refused", async () => {
    for (const name of [".wh.", ".wh..", ".wh...", "d/.wh.."]) {
      for (const mounts of [place.bind(fresh()), place.overlay(fresh())]) {
        const [code, message] = await refusal(archive(entry({ name })), mounts);
        expect([code, message]).toEqual([Code.InvalidArgument, expect.stringContaining("invalid whiteout name")]);
      }
    }
    expectSafe();
  });

  test("too long for the kernel, or too many, or too deep are refused", async () => {
    const nested = (depth: number): string => Array.from({ length: depth }, () => "d").join("/");
    const cases: [Uint8Array, string][] = [
      [archive(long("L", "n".repeat(300)), entry({ name: "x", format: "gnu" })), "name too long"],
      [archive(pax({ path: "p/".repeat(600) }), entry({ name: "x" })), "a path of 1199 bytes, the limit is 1000"],
      [archive(pax({ path: nested(101) }), entry({ name: "x" })), "a path of 101 directories, the limit is 100"],
      [
        archive(...Array.from({ length: 2001 }, (_, i) => entry({ name: `f${i % 10}` }))),
        "2001 entries, the limit is 2000",
      ],
      [
        archive(
          ...Array.from({ length: 80 }, (_, i) => [
            pax({ path: `${"n".repeat(200)}/${"m".repeat(200)}/${"o".repeat(200)}/${"p".repeat(200)}/q${i}` }),
            entry({ name: "x" }),
          ]).flat(),
        ),
        "bytes of names",
      ],
      [archive(pax({ path: "a\0b" }), entry({ name: "x" })), "NUL"],
      [archive(pax({ linkpath: "t".repeat(5000) }), entry({ name: "x", type: "2" })), "name too long"],
    ];
    for (const [bytes, text] of cases) expect((await refusal(bytes, place.bind(fresh())))[1]).toContain(text);
  });
});

describe.skipIf(skipped !== undefined)("numbers", () => {
  test("out of range are refused", async () => {
    const cases = [
      entry({ name: "d", type: "3", major: 4096, minor: 0, format: "gnu" }),
      entry({ name: "d", type: "4", major: 0, minor: 1 << 20, format: "gnu" }),
      entry({ name: "d", type: "3", major: -1, minor: 0, format: "gnu" }),
      entry({ name: "f", uid: -1, format: "gnu" }),
      Buffer.concat([pax({ uid: "4294967295" }), entry({ name: "f" })]),
      entry({ name: "f", type: "Z" }),
      entry({ name: "f", size: -512, format: "gnu" }),
      entry({ name: "f", wrongBy: 1 }),
      entry({ name: "f", size: 100_000 }),
    ];
    for (const one of cases) expect((await refusal(archive(one), place.bind(fresh())))[0]).toBe(Code.InvalidArgument);
    expectSafe();
  });

  test("of sparse files beyond any disk are refused", async () => {
    const bytes = archive(
      pax({ "GNU.sparse.size": String(2 ** 50), "GNU.sparse.map": "0,1" }),
      entry({ name: "s", body: "x" }),
    );
    expect(await refusal(bytes, place.bind(fresh()))).toEqual([
      Code.ResourceExhausted,
      expect.stringContaining("a file of"),
    ]);
  });
});

describe.skipIf(skipped !== undefined)("bombs", () => {
  const zeros = Buffer.alloc(32 << 20);
  const large = archive(entry({ name: "f", body: zeros }));

  test("by ratio, in both processes that decompress", async () => {
    for (const [mediaType, bytes] of [
      [gzip, gzipSync(large)],
      [zstd, zstdCompressSync(large)],
    ] as const) {
      const [code, message] = await refusal(bytes, place.bind(fresh()), mediaType);
      expect([code, message]).toEqual([Code.ResourceExhausted, expect.stringContaining("for each compressed one")]);
    }
  });

  test("by size, also behind the end of the archive", async () => {
    const noise = crypto.getRandomValues(Buffer.alloc(65536));
    const body = Buffer.concat(Array.from({ length: 1100 }, () => noise));
    const behind = Buffer.concat([archive(entry({ name: "f" })), body]);
    for (const bytes of [archive(entry({ name: "f", body })), behind]) {
      const [code, message] = await refusal(bytes, place.bind(fresh()));
      expect([code, message]).toEqual([Code.ResourceExhausted, expect.stringMatching(/bytes, the limit is 67108864/)]);
    }
    const packed = gzipSync(
      Buffer.concat([behind, crypto.getRandomValues(Buffer.alloc(65536)), crypto.getRandomValues(Buffer.alloc(65536))]),
      { level: 0 },
    );
    expect((await refusal(packed, place.bind(fresh()), gzip))[0]).toBe(Code.ResourceExhausted);
  }, 20_000);
});

describe.skipIf(skipped !== undefined)("streams that break", () => {
  const noise = Buffer.concat(Array.from({ length: 40 }, () => crypto.getRandomValues(Buffer.alloc(65536))));
  const tar = archive(entry({ name: "f", body: noise }));

  for (const [name, mediaType, packed] of [
    ["gzip", gzip, gzipSync(tar)],
    ["gzip, small", gzip, gzipSync(archive(entry({ name: "f", body: noise.subarray(0, 10_000) })))],
    ["zstd", zstd, zstdCompressSync(tar)],
    ["zstd, small", zstd, zstdCompressSync(archive(entry({ name: "f", body: noise.subarray(0, 10_000) })))],
  ] as const) {
    test(`are refused: ${name}`, async () => {
      const half = packed.subarray(0, packed.length >> 1);
      const short = packed.subarray(0, packed.length - 1);
      const long = Buffer.concat([packed, Buffer.from("garbage that is no frame")]);
      for (const bytes of [half, short, long]) {
        expect(await refusal(bytes, place.bind(fresh()), mediaType)).toEqual([
          Code.InvalidArgument,
          expect.stringContaining(name.slice(0, 4)),
        ]);
      }
    });
  }
});

test.skipIf(skipped !== undefined)(
  "trees deeper than any path are replaced, and their whole end is not followed",
  async () => {
    using deep = new Place();
    const parts: Uint8Array[] = [];
    for (let i = 0; i < 10; i++) {
      // A link to the end of each part lets the next part begin there.
      let path = i === 0 ? "root" : `l${i}`;
      for (let j = 0; j < 250; j++) {
        path += "/d";
        parts.push(pax({ path: `${path}/` }), entry({ name: "x", type: "5" }));
      }
      parts.push(pax({ linkpath: path }), entry({ name: `l${i + 1}`, type: "2" }));
    }
    await deep.apply(archive(...parts, entry({ name: "root", body: "replaced" })), deep.bind("t"));
    expect(deep.see("t/root").type).toBe("file");
  },
  30_000,
);
