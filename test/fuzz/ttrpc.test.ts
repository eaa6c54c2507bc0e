/**
 * A million malformed, truncated, split and oversized inputs against the decoder and against the server, and broken
 * answers against the client. `BERTH_FUZZ_SEED=N` repeats a run, `BERTH_FUZZ_INPUTS=N` changes its length.
 */

import { expect, test } from "bun:test";
import { fuzzClient } from "./ttrpc-client.ts";
import { fuzzDecoder } from "./ttrpc-decoder.ts";
import { chooseSeed, fullInputs } from "./ttrpc-random.ts";
import { fuzzServer } from "./ttrpc-server.ts";

const inputs = fullInputs();

test("TT-1 TT-2 TT-3 the decoder reads what is there, and holds no more than has come", () => {
  const seed = chooseSeed("decoder");
  fuzzDecoder(seed, Math.ceil(inputs / 10));
  Bun.gc(true);
  const before = process.memoryUsage.rss();
  expect(fuzzDecoder(seed + 1, inputs)).toBeGreaterThanOrEqual(inputs);
  Bun.gc(true);
  expect(process.memoryUsage.rss() - before).toBeLessThan(64 << 20);
}, 600_000);

test("TT-1 to TT-8 the server answers every input with its status, does not crash and does not grow", async () => {
  const { inputs: done, before, after } = await fuzzServer(chooseSeed("server"), inputs);
  console.log(`server: ${done} inputs; after a fifth of them ${JSON.stringify(before)}`);
  console.log(`server: at the end ${JSON.stringify(after)}`);
  expect(done).toBeGreaterThanOrEqual(inputs);
  // The one that asks.
  expect(after).toMatchObject({ connections: 1, inFlight: 1 });
  expect(after.fds).toBeLessThanOrEqual(before.fds);
  expect(after.objectCount).toBeLessThan(before.objectCount * 1.2 + 1000);
  expect(after.heapSize).toBeLessThan(before.heapSize * 1.2 + (1 << 20));
  expect(after.rss).toBeLessThan(before.rss * 1.2 + (16 << 20));
}, 900_000);

test("TT-1 to TT-8 the client settles every call, whatever the server answers", async () => {
  const calls = Math.ceil(inputs / 20);
  expect(await fuzzClient(chooseSeed("client"), calls)).toBeGreaterThanOrEqual(calls);
}, 300_000);
