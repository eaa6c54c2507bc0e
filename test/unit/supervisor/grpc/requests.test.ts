import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, credentials } from "@grpc/grpc-js";
import { untilAborted } from "../../../../supervisor/grpc/requests.ts";
import { GrpcServer } from "../../../../supervisor/grpc/server.ts";
import { outcome } from "../../../lib/outcome.ts";

test("requests that were handled are not kept until the call ends", async () => {
  const { signal } = new AbortController();
  const kept: WeakRef<object>[] = [];
  async function* requests(): AsyncGenerator<object> {
    for (let i = 0; i < 200; i++) {
      const request = { data: new Uint8Array(1000) };
      kept.push(new WeakRef(request));
      yield request;
    }
  }
  let alive = 0;
  let count = 0;
  for await (const request of untilAborted(requests(), signal)) {
    expect(request).toBeDefined();
    if (++count < 200) continue;
    await Bun.sleep(1);
    Bun.gc(true);
    alive = kept.filter((reference) => reference.deref() !== undefined).length;
  }
  expect(alive).toBeLessThan(20);
});

test("requests end with the call, and their failure is passed on", async () => {
  const controller = new AbortController();
  async function* silent(): AsyncGenerator<number> {
    yield 1;
    await new Promise(() => undefined);
  }
  const seen: number[] = [];
  setTimeout(() => controller.abort(), 10);
  for await (const request of untilAborted(silent(), controller.signal)) seen.push(request);
  expect(seen).toEqual([1]);
  async function* failing(): AsyncGenerator<number> {
    yield 1;
    throw new Error("broken");
  }
  const read = async (): Promise<void> => {
    for await (const request of untilAborted(failing(), new AbortController().signal)) void request;
  };
  expect(await outcome(read())).toThrow("broken");
});

test("a server ends although a client keeps a stream open both ways", async () => {
  const directory = mkdtempSync(join(tmpdir(), "berth-grpc-"));
  const address = join(directory, "s.sock");
  const server = new GrpcServer();
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  server.register("containerd.services.streaming.v1.Streaming", {
    async *Stream(requests, { signal }) {
      for await (const request of untilAborted(requests, signal)) yield request;
      end();
    },
  });
  await server.listen(address);
  const client = new Client(`unix://${address}`, credentials.createInsecure(), {
    "grpc.default_authority": "localhost",
  });
  const call = client.makeBidiStreamRequest(
    "/containerd.services.streaming.v1.Streaming/Stream",
    (bytes: Buffer) => bytes,
    (bytes: Buffer) => bytes,
  );
  call.on("error", () => undefined);
  const answered = new Promise((resolve) => call.once("data", resolve));
  call.write(Buffer.alloc(0));
  await answered;
  const begun = performance.now();
  await server.stop(50);
  await ended;
  expect(performance.now() - begun).toBeLessThan(1000);
  client.close();
  rmSync(directory, { recursive: true });
});
