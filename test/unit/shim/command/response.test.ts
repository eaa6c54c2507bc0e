import { describe, expect, test } from "bun:test";
import { containerd } from "../../../../proto/gen/shim.js";
import { deleteResponse } from "../../../../shim/command/response.ts";
import { timestamp } from "../../../../shim/task/timestamp.ts";

/** The library's bytes; what both leave out are zeros. */
function byLibrary(pid: number, exitStatus: number, exitedAt: number): Uint8Array {
  return containerd.task.v2.DeleteResponse.encode({ pid, exitStatus, exitedAt: timestamp(exitedAt) }).finish();
}

describe("DL-2 the answer of delete", () => {
  const cases: readonly [pid: number, exitStatus: number, exitedAt: number][] = [
    [1, 1, 1],
    [127, 128, 1_000],
    [4_194_304, 137, 1_795_156_953_657],
    [2 ** 31, 255, 253_402_300_799_999],
    [16_384, 300, 1_700_000_000_001],
  ];
  for (const [pid, exitStatus, exitedAt] of cases) {
    test(`has the library's meaning for pid ${pid}, status ${exitStatus}, ${exitedAt} ms`, () => {
      const ours = deleteResponse(pid, exitStatus, exitedAt);
      const decoded = containerd.task.v2.DeleteResponse.decode(ours);
      expect(containerd.task.v2.DeleteResponse.encode(decoded).finish()).toEqual(byLibrary(pid, exitStatus, exitedAt));
      expect([decoded.pid, decoded.exitStatus]).toEqual([pid, exitStatus]);
      const { seconds, nanos } = decoded.exitedAt ?? {};
      expect(Number(seconds) * 1000 + (nanos ?? 0) / 1e6).toBeCloseTo(exitedAt, 3);
    });
  }

  test("leaves out what is zero, as containerd's shim does for a container that was never created", () => {
    const decoded = containerd.task.v2.DeleteResponse.decode(deleteResponse(0, 0, 0));
    expect([decoded.pid, decoded.exitStatus]).toEqual([0, 0]);
  });

  test("a thousand random values come back", () => {
    let seed = 7;
    const random = (limit: number) => {
      seed = (seed * 48271) % 2147483647;
      return Math.floor((seed / 2147483647) * limit);
    };
    for (let i = 0; i < 1000; i++) {
      const [pid, status, at] = [random(2 ** 22), random(256), random(4e12)];
      const decoded = containerd.task.v2.DeleteResponse.decode(deleteResponse(pid, status, at));
      expect([decoded.pid, decoded.exitStatus, Number(decoded.exitedAt?.seconds)]).toEqual([
        pid,
        status,
        Math.floor(at / 1000),
      ]);
    }
  });
});
