import { describe, expect, test } from "bun:test";
import {
  add,
  fromBigInt,
  hugePageName,
  maxUint64,
  multiply,
  parseKeyValues,
  parsePressure,
  parseRdma,
  parseUint64,
  parseValue,
  toBigInt,
} from "../../../../../shim/linux/cgroup/parse.ts";

describe("64-bit counters", () => {
  const exact = [0n, 1n, 2n ** 31n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n];
  for (const value of exact) {
    test(`${value} is read exactly`, () => {
      const parsed = parseUint64(String(value));
      expect(parsed === undefined ? undefined : toBigInt(parsed)).toBe(value);
      expect(typeof parsed).toBe(value < 2n ** 53n ? "number" : "object");
    });
  }

  test("what is no unsigned 64-bit number", () => {
    for (const text of ["", "-", "max", "1.5", "0x10", " 1", "18446744073709551616"]) {
      expect(parseUint64(text)).toBeUndefined();
    }
    expect(parseUint64("-1")).toBe(0);
  });

  test("max is what the version of the message has for it", () => {
    expect(parseValue("max\n", 0)).toBe(0);
    expect(parseValue("max\n", maxUint64)).toEqual(maxUint64);
    expect(toBigInt(maxUint64)).toBe(2n ** 64n - 1n);
    expect(parseValue("12\n", 0)).toBe(12);
    expect(parseValue(undefined, 0)).toBeUndefined();
  });

  test("arithmetic stays exact and wraps as Go's", () => {
    expect(multiply(123, 10_000_000)).toBe(1_230_000_000);
    expect(toBigInt(multiply(4_000_000_001, 10_000_000))).toBe(40_000_000_010_000_000n);
    expect(toBigInt(multiply(fromBigInt(2n ** 63n), 2))).toBe(0n);
    expect(toBigInt(add(Number.MAX_SAFE_INTEGER, 2))).toBe(2n ** 53n + 1n);
    expect(add(maxUint64, 1)).toBe(0);
  });
});

test("key value files", () => {
  const values = parseKeyValues("anon 4096\nbad\nworse x\n big 1\nhuge 18446744073709551615\n");
  expect(values.get("anon")).toBe(4096);
  expect(values.get("huge")).toEqual(maxUint64);
  expect(values.size).toBe(2);
});

test("pressure files", () => {
  const line = "avg10=1.50 avg60=0.25 avg300=0.01 total=9007199254740993";
  expect(parsePressure(`some ${line}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n`)).toEqual({
    some: { avg10: 1.5, avg60: 0.25, avg300: 0.01, total: fromBigInt(9007199254740993n) },
    full: { avg10: 0, avg60: 0, avg300: 0, total: 7 },
  });
  expect(parsePressure(`some ${line}\n`)?.full).toBeUndefined();
  expect(parsePressure(undefined)).toBeUndefined();
});

test("rdma files", () => {
  expect(parseRdma("mlx4_0 hca_handle=2 hca_object=max\nbad hca_handle=1\n")).toEqual([
    { device: "mlx4_0", hcaHandles: 2, hcaObjects: 4294967295 },
  ]);
});

test("huge page names", () => {
  const names = [
    "hugepages-64kB",
    "hugepages-2048kB",
    "hugepages-1048576kB",
    "hugepages-16777216kB",
    "other",
    "hugepages-xkB",
  ];
  expect(names.map(hugePageName)).toEqual(["64KB", "2MB", "1GB", "16GB", undefined, undefined]);
});
