import { expect, test } from "bun:test";
import { type Listing, listOf } from "../../../../../supervisor/cli/output/list.ts";

interface Thing {
  id: string;
  bytes: number;
}

const listing: Listing<Thing> = {
  columns: (full) => [
    { header: "ID", cell: ({ id }) => (full ? id : id.slice(0, 4)) },
    { header: "SIZE", cell: ({ bytes }) => `${bytes}B` },
  ],
  item: ({ id, bytes }) => ({ ID: id, Size: `${bytes}B`, Labels: { a: "b\x1b" } }),
  id: ({ id }, full) => (full ? id : id.slice(0, 4)),
};
const things = [
  { id: "abcdefgh", bytes: 5 },
  { id: "x\x1b[2J", bytes: 7 },
];

test("programs get an object a line", () => {
  const lines = listOf(things, listing, { format: "json" }).trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line).ID)).toEqual(["abcdefgh", "x\x1b[2J"]);
  expect(listOf([], listing, { format: "json" })).toBe("");
});

test("-q gives ids alone, and hostile ones escaped", () => {
  expect(listOf(things, listing, { quiet: true })).toBe("abcd\nx\\x1b[2\n");
  expect(listOf(things, listing, { quiet: true, trunc: false })).toBe("abcdefgh\nx\\x1b[2J\n");
});

test("templates are filled in, with a header when they begin with table", () => {
  expect(listOf(things.slice(0, 1), listing, { format: "{{.ID}}: {{ .Size }} {{json .Labels}}" })).toBe(
    'abcdefgh: 5B {"a":"b\\u001b"}\n',
  );
  expect(listOf(things.slice(0, 1), listing, { format: "table {{.ID}}\\t{{.Size}}" })).toBe(
    "ID         SIZE\nabcdefgh   5B\n",
  );
  expect(listOf(things.slice(1), listing, { format: "{{.ID}}" })).toBe("x\\x1b[2J\n");
});

test("a format that is none is refused with what there is", () => {
  expect(() => listOf(things, listing, { format: "yaml" })).toThrow(/table, json/);
  expect(() => listOf(things, listing, { format: "{{.Nope}}" })).toThrow(/there is no \.Nope; there are \.ID, \.Size/);
});
