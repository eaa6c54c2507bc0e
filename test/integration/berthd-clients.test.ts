/** Many clients at once, clients that go away in the middle of things, and messages as large as they may be. */

import { afterAll, beforeAll, expect } from "bun:test";
import { randomBytes } from "node:crypto";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { join } from "node:path";
import { Berthd } from "../lib/berthd.ts";
import { GrpcClient, isServiceError } from "../lib/grpc.ts";
import { expectNoLeak, inventory } from "../lib/leak.ts";
import { whyNoContainers } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { waitFor } from "../lib/wait.ts";

const scope = processScope();
const impossible = whyNoContainers();
const content = "containerd.services.content.v1.Content";
const containers = "containerd.services.containers.v1.Containers";
const events = "containerd.services.events.v1.Events";
const images = "containerd.services.images.v1.Images";
const leases = "containerd.services.leases.v1.Leases";
const version = "containerd.services.version.v1.Version";
let daemon: Berthd;
let where: { namespace: string };

if (impossible === undefined) {
  beforeAll(async () => {
    daemon = new Berthd(join(scope.dir, "d"), `${scope.token}-clients`);
    where = { namespace: daemon.namespace };
    await daemon.start();
  }, 30_000);
  afterAll(async () => {
    await daemon.stop();
    const mine = new Set([...inventory(scope)].filter((item) => item.startsWith("descriptor")));
    await expectNoLeak(mine, () => inventory(scope, daemon));
    daemon.remove();
  }, 30_000);
}

/** Number of files that the daemon has open. */
async function openFiles(): Promise<number> {
  return (await Array.fromAsync(new Bun.Glob("*").scan({ cwd: `/proc/${daemon.pid}/fd`, onlyFiles: false }))).length;
}

function digestOf(data: Uint8Array): string {
  return `sha256:${new Bun.CryptoHasher("sha256").update(data).digest("hex")}`;
}

testUnless(
  impossible,
  "200 clients at once: each is answered, and nothing of another",
  async () => {
    const before = await openFiles();
    const one = async (at: number): Promise<void> => {
      const client = new GrpcClient(daemon.address);
      try {
        const data = randomBytes(10_000 + at);
        const digest = digestOf(data);
        const labels = { "containerd.io/gc.root": "yes", client: String(at) };
        const request = { action: 2, ref: `r${at}`, total: data.length, expected: digest, offset: 0, data, labels };
        await client.exchange(content, "Write", [request], where);
        await client.call(leases, "Create", { id: `lease-${at}` }, where);
        const target = { mediaType: "application/octet-stream", digest, size: data.length };
        await client.call(images, "Create", { image: { name: `image-${at}`, target } }, where);
        await client.call(containers, "Create", { container: { id: `c-${at}`, runtime: { name: "r" } } }, where);
        const { info } = await client.call(content, "Info", { digest }, where);
        expect(info?.labels?.["client"]).toBe(String(at));
        const { image } = await client.call(images, "Get", { name: `image-${at}` }, where);
        expect(image?.target?.digest).toBe(digest);
        await client.call(images, "Delete", { name: `image-${at}` }, where);
        await client.call(containers, "Delete", { id: `c-${at}` }, where);
        await client.call(leases, "Delete", { id: `lease-${at}` }, where);
        await client.call(content, "Delete", { digest }, where);
      } finally {
        client.close();
      }
    };
    await Promise.all(Array.from({ length: 200 }, (_, at) => one(at)));
    await waitFor("the connections to be closed", async () => (await openFiles()) <= before + 2);
  },
  60_000,
);

testUnless(
  impossible,
  "clients that vanish in mid-stream leave nothing behind",
  async () => {
    const before = await openFiles();
    const data = randomBytes(4 << 20);
    const digest = digestOf(data);
    const keeper = new GrpcClient(daemon.address);
    const parts = [data.subarray(0, 2 << 20), data.subarray(2 << 20)] as const;
    const labels = { "containerd.io/gc.root": "yes" };
    await keeper.exchange(
      content,
      "Write",
      [
        { action: 1, ref: "kept", total: data.length, offset: 0, data: parts[0] },
        { action: 2, ref: "kept", total: data.length, expected: digest, offset: 2 << 20, data: parts[1], labels },
      ],
      where,
    );
    const vanish = async (at: number): Promise<void> => {
      const controller = new AbortController();
      const client = new GrpcClient(daemon.address);
      const options = { ...where, signal: controller.signal };
      const reading =
        at % 2 === 0
          ? client.stream(content, "Read", { digest }, options)
          : client.stream(events, "Subscribe", { filters: [] }, options);
      const ended = (async () => {
        for await (const _ of reading) if (at % 2 === 0) break;
      })().catch(() => undefined);
      await Bun.sleep(20);
      controller.abort();
      client.close();
      await ended;
    };
    await Promise.all(Array.from({ length: 60 }, (_, at) => vanish(at)));
    // A writer whose connection is cut in the middle of a message, without a word.
    await Promise.all(Array.from({ length: 20 }, (_, at) => cutWriter(`cut-${at}`, data.subarray(0, 100_000))));
    await waitFor("the connections to be closed", async () => (await openFiles()) <= before + 3);
    // What was written before the cut is kept, can be gone on with, and can be given up.
    // A connection can be closed before the daemon has come to what was sent over it.
    await waitFor("the ingests to be given up", async () => {
      const { statuses } = await keeper.call(content, "ListStatuses", {}, where);
      for (const { ref } of statuses ?? []) await keeper.call(content, "Abort", { ref: ref ?? "" }, where);
      return (statuses ?? []).length === 0;
    });
    await keeper.call(content, "Delete", { digest }, where);
    keeper.close();
  },
  60_000,
);

/** Begins to write a blob and pulls the plug: the socket is destroyed with a message half sent. */
async function cutWriter(ref: string, data: Uint8Array): Promise<void> {
  const socket = connect(daemon.address);
  const session = connectHttp2("http://localhost", { createConnection: () => socket });
  session.on("error", () => undefined);
  const stream = session.request({
    ":method": "POST",
    ":path": `/${content}/Write`,
    te: "trailers",
    "content-type": "application/grpc",
    "containerd-namespace": where.namespace,
  });
  stream.on("error", () => undefined);
  const { WriteContentRequest } = (await import("../../proto/gen/supervisor.js")).containerd.services.content.v1;
  const message = WriteContentRequest.encode({ action: 1, ref, offset: 0, total: 1 << 20, data }).finish();
  const frame = Buffer.alloc(5);
  frame.writeUInt32BE(message.length, 1);
  stream.write(Buffer.concat([frame, message, frame, message.subarray(0, 1_000)]));
  await Bun.sleep(50);
  socket.destroy();
}

testUnless(
  impossible,
  "messages of up to 16 MiB pass, larger ones are refused and the connection goes on",
  async () => {
    const client = new GrpcClient(daemon.address);
    const write = (length: number) => {
      const data = new Uint8Array(length);
      const request = { action: 1, ref: `large-${length}`, total: length, offset: 0, data };
      return client.exchange(content, "Write", [request], where);
    };
    await write((16 << 20) - 1_000);
    const error = await write((16 << 20) + 1_000).catch((caught: unknown) => caught);
    // 8: ResourceExhausted
    expect(isServiceError(error) ? error.code : error).toBe(8);
    expect((await client.call(version, "Version", {})).version).toBeTruthy();
    const { statuses } = await client.call(content, "ListStatuses", {}, where);
    for (const { ref } of statuses ?? []) await client.call(content, "Abort", { ref: ref ?? "" }, where);
    client.close();
  },
  30_000,
);

testUnless(impossible, "what is no gRPC at all does not disturb the others", async () => {
  const garbage = Array.from({ length: 30 }, async (_, at) => {
    const socket = connect(daemon.address);
    socket.on("error", () => undefined);
    socket.write(at % 3 === 0 ? "GET / HTTP/1.1\r\n\r\n" : randomBytes(at * 100 + 1));
    await Bun.sleep(30);
    socket.destroy();
  });
  await Promise.all(garbage);
  const client = new GrpcClient(daemon.address);
  expect((await client.call(version, "Version", {})).version).toBeTruthy();
  client.close();
});
