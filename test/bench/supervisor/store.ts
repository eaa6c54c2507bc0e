/** Lists of many containers, and one among them; events to ten subscribers. */

import { containerd } from "../../../proto/gen/supervisor.js";
import { median } from "../statistics.ts";
import { Wire } from "./wire.ts";

const NAMESPACE = "bench";
const containers = "/containerd.services.containers.v1.Containers";
const { CreateContainerRequest, GetContainerRequest, ListContainersRequest } = containerd.services.containers.v1;

/** Milliseconds. */
export interface ListFigures {
  readonly list: number;
  readonly get: number;
  readonly create: number;
  readonly filtered: number;
  readonly stream: number;
}

/** A specification of about 1 kB: 10,000 of them fit into the 16 MiB that a message may have. */
const spec = JSON.stringify({ ociVersion: "1.1.0", process: { args: ["sh"], env: ["x".repeat(900)] } });

/** Fills a daemon with containers, in as many calls at once as `width`. */
export async function fillContainers(address: string, count: number, width = 32): Promise<number> {
  const wire = new Wire(address);
  const started = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (let n = next++; n < count; n = next++) {
        const container = {
          id: `c${n}`,
          image: "docker.io/library/busybox:latest",
          labels: { "io.containerd.image.config.stop-signal": "SIGTERM", number: String(n) },
          runtime: { name: "io.containerd.runc.v2", options: { type_url: "containerd.runc.v1.Options" } },
          snapshotter: "overlayfs",
          snapshotKey: `c${n}`,
          spec: { type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec", value: Buffer.from(spec) },
        };
        await wire.unary(`${containers}/Create`, CreateContainerRequest.encode({ container }).finish(), NAMESPACE);
      }
    }),
  );
  wire.close();
  return (performance.now() - started) / count;
}

/** Times reads of a daemon that {@link fillContainers} has filled. */
export async function measureLists(address: string, count: number, repeats = 10): Promise<Omit<ListFigures, "create">> {
  const wire = new Wire(address);
  const all = ListContainersRequest.encode({}).finish();
  const some = ListContainersRequest.encode({ filters: [`labels.number==${count - 1}`] }).finish();
  const time = async (path: string, message: Uint8Array): Promise<number> => {
    const started = performance.now();
    await wire.unary(`${containers}/${path}`, message, NAMESPACE);
    return performance.now() - started;
  };
  const figures: Record<"list" | "get" | "filtered" | "stream", number[]> = {
    list: [],
    get: [],
    filtered: [],
    stream: [],
  };
  // Gets come first: what follows a list of megabytes pays for its garbage, under every daemon.
  for (let n = 0; n < repeats * 50; n++) {
    const id = `c${(n * 7919) % count}`;
    figures.get.push(await time("Get", GetContainerRequest.encode({ id }).finish()));
  }
  await time("List", all);
  for (let n = 0; n < repeats; n++) {
    figures.list.push(await time("List", all));
    figures.filtered.push(await time("List", some));
    figures.stream.push(await time("ListStream", all));
  }
  wire.close();
  const { list, get, filtered, stream } = figures;
  return { list: median(list), get: median(get), filtered: median(filtered), stream: median(stream) };
}

/**
 * Publishes events to a daemon with subscribers.
 * @returns how many events a second went to every one of them
 */
export async function measureEvents(address: string, count: number, subscribers = 10, width = 64): Promise<number> {
  const { PublishRequest, SubscribeRequest } = containerd.services.events.v1;
  const events = "/containerd.services.events.v1.Events";
  const value = containerd.events.TaskStart.encode({ containerId: "c1", pid: 1234 }).finish();
  const message = PublishRequest.encode({
    topic: "/tasks/start",
    event: { type_url: "containerd.events.TaskStart", value },
  }).finish();
  const wires = Array.from({ length: subscribers }, () => new Wire(address));
  const readers = wires.map((wire) => {
    const counter = new Counter();
    const end = wire.listen(`${events}/Subscribe`, SubscribeRequest.encode({}).finish(), (bytes) => counter.add(bytes));
    return { counter, end };
  });
  const publisher = new Wire(address);
  // Until every subscriber has heard something.
  while (readers.some(({ counter }) => counter.messages === 0)) {
    await publisher.unary(`${events}/Publish`, message, NAMESPACE);
    await Bun.sleep(5);
  }
  await Bun.sleep(50);
  const before = readers.map(({ counter }) => counter.messages);
  const started = performance.now();
  let sent = 0;
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (sent < count) {
        sent++;
        await publisher.unary(`${events}/Publish`, message, NAMESPACE);
      }
    }),
  );
  while (readers.some(({ counter }, at) => counter.messages - (before[at] ?? 0) < count)) await Bun.sleep(1);
  const seconds = (performance.now() - started) / 1000;
  for (const { end } of readers) end();
  for (const wire of [publisher, ...wires]) wire.close();
  return count / seconds;
}

/** Counts gRPC messages in a stream of bytes. */
class Counter {
  messages = 0;
  #rest: Buffer = Buffer.alloc(0);

  add(bytes: Uint8Array): void {
    const all = this.#rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#rest, bytes]);
    let at = 0;
    while (at + 5 <= all.length) {
      const next = at + 5 + all.readUInt32BE(at + 1);
      if (next > all.length) break;
      this.messages++;
      at = next;
    }
    this.#rest = all.subarray(at);
  }
}
