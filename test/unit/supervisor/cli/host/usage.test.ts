import { expect, test } from "bun:test";
import { io as io1 } from "../../../../../proto/gen/cgroups1.js";
import { io as io2 } from "../../../../../proto/gen/cgroups2.js";
import { busyPart, parseTicks } from "../../../../../supervisor/cli/host/node.ts";
import { parseProcess } from "../../../../../supervisor/cli/host/processes.ts";
import { cpuPercent, decodeUsage, parseTraffic } from "../../../../../supervisor/cli/host/usage.ts";

const MIB = 1 << 20;

test("the per cent of a CPU come from two readings, and never below none", () => {
  expect(cpuPercent({ at: 1000, cpu: 5e9 }, { at: 2000, cpu: 6.5e9 })).toBeCloseTo(150);
  expect(cpuPercent(undefined, { at: 2000, cpu: 6e9 })).toBe(0);
  // The container was started again, or the same reading came twice.
  expect(cpuPercent({ at: 1000, cpu: 5e9 }, { at: 2000, cpu: 1e6 })).toBe(0);
  expect(cpuPercent({ at: 1000, cpu: 5e9 }, { at: 1000, cpu: 6e9 })).toBe(0);
});

test("usage of cgroup v1: without files that are not in use, an absurd limit is none", async () => {
  const { Metrics } = io1.containerd.cgroups.v1;
  const value = Metrics.encode({
    cpu: { usage: { total: 7e9 } },
    memory: { usage: { usage: 10 * MIB, limit: 2 ** 52 }, totalInactiveFile: 4 * MIB },
    pids: { current: 3 },
    blkio: {
      ioServiceBytesRecursive: [
        { op: "Read", value: 100 },
        { op: "Write", value: 30 },
        { op: "Read", value: 1 },
      ],
    },
  }).finish();
  const data = { type_url: "io.containerd.cgroups.v1.Metrics", value };
  expect(await decodeUsage(data, 5, 64 * MIB)).toEqual({
    at: 5,
    cpu: 7e9,
    memory: 6 * MIB,
    memoryLimit: 64 * MIB,
    read: 101,
    written: 30,
    pids: 3,
  });
});

test("usage of cgroup v2", async () => {
  const { Metrics } = io2.containerd.cgroups.v2;
  const value = Metrics.encode({
    cpu: { usageUsec: 7e6 },
    memory: { usage: 10 * MIB, usageLimit: 32 * MIB, inactiveFile: 4 * MIB },
    pids: { current: 3 },
    io: { usage: [{ rbytes: 100, wbytes: 30 }, { rbytes: 1 }] },
  }).finish();
  const data = { type_url: "io.containerd.cgroups.v2.Metrics", value };
  expect(await decodeUsage(data, 5, 64 * MIB)).toEqual({
    at: 5,
    cpu: 7e9,
    memory: 6 * MIB,
    memoryLimit: 32 * MIB,
    read: 101,
    written: 30,
    pids: 3,
  });
  expect(await decodeUsage({ type_url: "something.else", value }, 5, MIB)).toBeUndefined();
});

test("traffic is that of all interfaces but the loopback", () => {
  const text = `Inter-|   Receive  |  Transmit
 face |bytes    packets errs
    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0
  eth0: 100 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0
  eth1:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0
`;
  expect(parseTraffic(text)).toEqual({ received: 101, sent: 22 });
});

test("the machine's CPUs: what waits for a disk is idle", () => {
  const before = parseTicks("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 ...\n");
  expect(before).toEqual({ busy: 200, total: 1000 });
  expect(busyPart(before, { busy: 250, total: 1100 })).toBe(0.5);
  expect(busyPart(undefined, before)).toBe(0);
  expect(busyPart(before, before)).toBe(0);
});

test("a process whose name looks like the end of its name", () => {
  const fields = Array.from({ length: 50 }, (_, index) => String(index + 3));
  fields[0] = "S";
  const stat = `42 (evil) R 1 (x)) ${fields.join(" ")}`;
  const status = "Name:\tx\nUid:\t0\t1000\t0\t0\n";
  const row = parseProcess(42, { stat, status, cmdline: "sh\0-c\0true\0" }, new Map([[1000, "user"]]));
  expect(row).toMatchObject({ pid: 42, parent: 4, user: "user", state: "S", cpu: 0.29, command: "sh -c true" });
  expect(parseProcess(42, { stat, status, cmdline: "" }, new Map()).command).toBe("[evil) R 1 (x)]");
  expect(() => parseProcess(42, { stat: "42 (x) S", status, cmdline: "" }, new Map())).toThrow("too few");
});
