import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Exchange } from "../../../../supervisor/event/exchange.ts";
import { eventsService } from "../../../../supervisor/grpc/events.ts";
import { GrpcServer } from "../../../../supervisor/grpc/server.ts";
import { GrpcClient } from "../../../lib/grpc.ts";
import { outcome } from "../../../lib/outcome.ts";
import { waitFor } from "../../../lib/wait.ts";

const service = "containerd.services.events.v1.Events";
let directory: string;
let server: GrpcServer;
let exchange: Exchange;
let client: GrpcClient;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "berth-events-"));
  exchange = new Exchange();
  server = new GrpcServer().register(service, eventsService(exchange));
  await server.listen(join(directory, "s"));
  client = new GrpcClient(join(directory, "s"));
});

afterEach(async () => {
  client.close();
  await server.stop(100);
  rmSync(directory, { recursive: true, force: true });
});

test("every subscriber gets every event, whole and in order, however many are written at once", async () => {
  const sizes = Array.from({ length: 2000 }, (_, n) => (n % 500 === 250 ? 3 << 20 : (n * 37) % 1500));
  const controller = new AbortController();
  const readers = Array.from({ length: 3 }, async () => {
    const seen: number[] = [];
    for await (const { topic, event } of client.stream(service, "Subscribe", {}, { signal: controller.signal })) {
      expect(topic).toBe(`/n/${seen.length}`);
      seen.push(event?.value?.length ?? 0);
      if (seen.length === sizes.length) break;
    }
    return seen;
  });
  await waitFor("three subscribers", () => exchange.depth.subscribers === 3);
  for (const [n, size] of sizes.entries()) {
    exchange.publish("n1", `/n/${n}`, { name: "x", value: new Uint8Array(size) });
    if (n % 100 === 0) await Bun.sleep(1);
  }
  for (const seen of await Promise.all(readers)) expect(seen).toEqual(sizes);
  await waitFor("no subscriber", () => exchange.depth.subscribers === 0);
  controller.abort();
}, 20_000);

test("a subscriber that has gone is forgotten, and one with a wrong filter is told", async () => {
  const controller = new AbortController();
  const reading = (async () => {
    for await (const _ of client.stream(service, "Subscribe", {}, { signal: controller.signal }));
  })();
  await waitFor("a subscriber", () => exchange.depth.subscribers === 1);
  controller.abort();
  await reading;
  await waitFor("no subscriber", () => exchange.depth.subscribers === 0);
  const wrong = (async () => {
    for await (const _ of client.stream(service, "Subscribe", { filters: ["topic=="] }));
  })();
  expect(await outcome(wrong)).toThrow("expected value or quoted");
});
