import { expect, test } from "bun:test";
import { type TableColumn, tableOf } from "../../../../../supervisor/cli/output/table.ts";

interface Row {
  name: string;
  tag: string;
  size: string;
}

const columns: readonly TableColumn<Row>[] = [
  { header: "REPOSITORY", cell: ({ name }) => name, min: 12 },
  { header: "TAG", cell: ({ tag }) => tag },
  { header: "DIGEST", cell: () => "sha256:abc", drop: 1 },
  { header: "SIZE", cell: ({ size }) => size, align: "right" },
];
const rows: readonly Row[] = [
  { name: "docker.io/library/alpine", tag: "latest", size: "12MB" },
  { name: "漢字", tag: "\x1b[32mv1\x1b[39m", size: "1.5GB" },
];

/** Without what colours. */
function plain(text: string): string[] {
  return Bun.stripANSI(text).trimEnd().split("\n");
}

test("columns stand below each other, wide characters and colours too", () => {
  expect(plain(tableOf(rows, columns))).toEqual([
    "REPOSITORY                 TAG      DIGEST        SIZE",
    "docker.io/library/alpine   latest   sha256:abc    12MB",
    "漢字                       v1       sha256:abc   1.5GB",
  ]);
});

test("a table without rows is its header", () => {
  expect(tableOf([], columns)).toBe("REPOSITORY   TAG   DIGEST   SIZE\n");
});

test("where the terminal is narrow, cells are cut, and then columns left out", () => {
  for (const width of [60, 52, 44, 36, 30]) {
    const lines = plain(tableOf(rows, columns, width));
    expect(Math.max(...lines.map((line) => Bun.stringWidth(line)))).toBeLessThanOrEqual(width);
    expect(lines).toHaveLength(3);
    for (const line of lines) expect(line).toMatch(/SIZE|12MB|1.5GB/);
  }
  expect(plain(tableOf(rows, columns, 44))[1]).toBe("docker.io/librar…  latest  sha256:abc   12MB");
  expect(plain(tableOf(rows, columns, 36))[0]).not.toContain("DIGEST");
});

test("what cannot be cut or left out stays whole", () => {
  expect(plain(tableOf(rows, columns, 5))[1]).toContain("latest");
});
