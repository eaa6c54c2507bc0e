/** A few seconds of test/fuzz/ttrpc.test.ts, with seeds that are always the same. */

import { expect, test } from "bun:test";
import { fuzzClient } from "../../../fuzz/ttrpc-client.ts";
import { fuzzDecoder } from "../../../fuzz/ttrpc-decoder.ts";
import { fuzzServer } from "../../../fuzz/ttrpc-server.ts";

test("TT-1 TT-2 TT-3 the decoder takes 20,000 random inputs", () => {
  expect(fuzzDecoder(1, 20_000)).toBeGreaterThanOrEqual(20_000);
});

test("TT-1 to TT-8 the server answers 20,000 random inputs with the right status", async () => {
  const { inputs, after } = await fuzzServer(2, 20_000);
  expect(inputs).toBeGreaterThanOrEqual(20_000);
  expect(after).toMatchObject({ connections: 1, inFlight: 1 });
}, 30_000);

test("TT-1 to TT-8 the client settles 2,000 calls that are answered with rubbish", async () => {
  expect(await fuzzClient(3, 2000)).toBeGreaterThanOrEqual(2000);
}, 30_000);
