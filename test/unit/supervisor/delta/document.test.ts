/** R29: what a delta says of itself is read with care. */

import { expect, test } from "bun:test";
import { type DeltaDocument, deltaTag, documentJson, parseDocument } from "../../../../supervisor/delta/document.ts";
import { DeltaRoom, type DeltaRoomParts } from "../../../../supervisor/delta/room.ts";

const digest = (n: number): string => `sha256:${String(n).repeat(64)}`;
const described = (n: number) => ({ mediaType: "application/x", digest: digest(n), size: n });
const document: DeltaDocument = {
  old: { name: "localhost/app:1", manifest: digest(1) },
  new: { name: "localhost/app:2", target: described(2), manifest: described(3) },
  layers: [
    { digest: digest(4), diffId: digest(5), bytes: 0, size: 7, source: { kind: "old" } },
    {
      ...{ digest: digest(6), diffId: digest(7), bytes: 100, size: 50 },
      source: {
        kind: "patch",
        patch: described(8),
        bases: [{ digest: digest(9), diffId: digest(1), bytes: 90 }],
        recipe: { kind: "zstd", level: 3 },
      },
    },
  ],
};
const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

test("a document is read as it was written", () => {
  const read = parseDocument(encode(documentJson(document)));
  expect(JSON.parse(JSON.stringify(read))).toEqual(JSON.parse(JSON.stringify(document)));
  expect(deltaTag(digest(1), digest(2))).toBe("delta-111111111111-222222222222");
});

type Loose = Record<string, unknown> & { layers: Record<string, unknown>[] };
const broken: Readonly<Record<string, (json: Loose) => void>> = {
  "another version": (json) => Object.assign(json, { version: 2 }),
  "no layers": (json) => Object.assign(json, { layers: "x" }),
  "more layers than an image has": (json) => Object.assign(json, { layers: Array(5000).fill(json.layers[0]) }),
  "a path for a digest": (json) => Object.assign(json.layers[0] ?? {}, { digest: "../../etc/passwd" }),
  "another algorithm": (json) => Object.assign(json.layers[0] ?? {}, { diffId: `sha512:${"0".repeat(128)}` }),
  "a negative size": (json) => Object.assign(json.layers[1] ?? {}, { bytes: -1 }),
  "an unknown source": (json) => Object.assign(json.layers[1] ?? {}, { source: { kind: "magic" } }),
  "no old image": (json) => Object.assign(json, { old: null }),
};
for (const [name, edit] of Object.entries(broken)) {
  test(`R29: a delta with ${name} is refused`, () => {
    const json = JSON.parse(JSON.stringify(documentJson(document))) as Loose;
    edit(json);
    expect(() => parseDocument(encode(json))).toThrow("the delta is refused");
  });
}

test("what is no JSON is refused", () => {
  expect(() => parseDocument(new TextEncoder().encode("{"))).toThrow("the delta is refused");
});

test("R29: without [images] deltas a pull asks for none", async () => {
  const room = new DeltaRoom({ isEnabled: false, temporary: "/tmp" } as DeltaRoomParts);
  const nobody = {} as never;
  expect(await room.pull(nobody, described(1), { platforms: [] } as never, nobody)).toBeUndefined();
});
