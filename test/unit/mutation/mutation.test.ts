/** The parts of the mutation suite that need no machine. */

import { describe, expect, test } from "bun:test";
import { names } from "../../conformance/check.ts";
import { allChecks } from "../../conformance/main.ts";
import {
  concat,
  encodeRequest,
  encodeResponse,
  frame,
  frameType,
  header,
  maxPayload,
} from "../../conformance/rig/wire.ts";
import type { Wire } from "../../mutation/fault.ts";
import { allFaults } from "../../mutation/faults/index.ts";
import { FrameCutter } from "../../mutation/frames.ts";
import { compare, controls } from "../../mutation/kit.ts";
import { methods, Reply, RpcCall } from "../../mutation/rpc.ts";

const ids = allChecks.map(({ id }) => id);
const request = (text: string): Uint8Array => frame(1, frameType.request, new TextEncoder().encode(text));

describe("faults", () => {
  test("each has a name of its own", () => {
    expect(new Set(allFaults.map(({ name }) => name)).size).toBe(allFaults.length);
  });

  test("each names checks that there are", () => {
    const named = [...controls, ...allFaults.flatMap(({ by }) => by)];
    expect(named.filter((id) => !ids.includes(id))).toEqual([]);
    const patterns = allFaults.flatMap(({ also = [] }) => also);
    expect(patterns.filter((pattern) => !ids.some((id) => names(pattern, id)))).toEqual([]);
  });

  test("every check has a fault that it must find", () => {
    const found = new Set(allFaults.flatMap(({ by }) => by));
    expect(ids.filter((id) => !found.has(id))).toEqual([]);
  });
});

describe("FrameCutter", () => {
  test("gives frames back as they were, however they come", () => {
    const all = concat(request("one"), request(""), request("three"));
    for (const size of [1, 3, 11, all.length]) {
      const cutter = new FrameCutter();
      const found: Uint8Array[] = [];
      for (let at = 0; at < all.length; at += size) found.push(...cutter.push(all.subarray(at, at + size)));
      expect(found).toEqual([request("one"), request(""), request("three")]);
      expect(cutter.isWithin).toBe(false);
    }
  });

  test("passes a frame that is too long on, and goes on behind it", () => {
    const long = concat(header(maxPayload + 1, 1, frameType.request), new Uint8Array(maxPayload + 1));
    const cutter = new FrameCutter();
    const pieces = [...cutter.push(long.subarray(0, 100)), ...cutter.push(concat(long.subarray(100), request("next")))];
    expect(concat(...pieces.slice(0, -1))).toEqual(long);
    expect(pieces.at(-1)).toEqual(request("next"));
  });

  test("knows when a frame has begun", () => {
    const cutter = new FrameCutter();
    cutter.push(request("half").subarray(0, 12));
    expect(cutter.isWithin).toBe(true);
  });
});

describe("RpcCall and Reply", () => {
  const parts = {
    service: "containerd.task.v2.Task",
    method: "Kill",
    payload: methods.Kill.request.encode({ id: "c1", execId: "e1", signal: 15 }).finish(),
    timeoutMs: 200,
    metadata: { key: "value" },
  };

  test("a call that is edited keeps the rest", () => {
    const call = new RpcCall({} as Wire, 1, encodeRequest(parts));
    expect([call.is("Kill"), call.is("Wait"), call.target, call.timeoutMs]).toEqual([true, false, "c1/e1", 200]);
    call.edit("Kill", (message) => {
      message.signal = 9;
    });
    const payload = methods.Kill.request.encode({ id: "c1", execId: "e1", signal: 9 }).finish();
    expect(call.envelope).toEqual(encodeRequest({ ...parts, payload }));
  });

  test("a reply is read with its status", () => {
    const reply = Reply.read(encodeResponse(new Uint8Array(), 5, "nobody"));
    expect([reply.code, reply.message]).toEqual([5, "nobody"]);
    const pid = Reply.of("Create", { pid: 7 });
    expect(Reply.read(pid.envelope).answer("Create").pid).toBe(7);
  });
});

describe("compare", () => {
  const fault = { name: "x", by: ["EV-1.order"], also: ["EV-*"] };
  const result = (id: string, outcome: "pass" | "fail" | "skip" | "error") => ({ id, outcome });

  test("what was named must fail, and nothing else", () => {
    expect(compare(fault, [result("EV-1.order", "fail"), result("ST-7", "pass")])).toEqual([]);
    expect(compare(fault, [result("EV-1.order", "pass")])).toEqual(["NOT FOUND by EV-1.order: pass"]);
    expect(compare(fault, [result("EV-1.order", "fail"), result("ST-7", "fail")])).toHaveLength(1);
  });

  test("what may fail as well may fail, but an error of the kit is one", () => {
    expect(compare(fault, [result("EV-1.order", "fail"), result("EV-5", "fail")])).toEqual([]);
    expect(compare(fault, [result("EV-1.order", "fail"), result("EV-5", "error")])).toHaveLength(1);
    expect(compare(fault, [result("EV-1.order", "skip")])).toHaveLength(1);
  });
});
