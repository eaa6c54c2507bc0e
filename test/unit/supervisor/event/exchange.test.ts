import { expect, test } from "bun:test";
import { containerd } from "../../../../proto/gen/supervisor.js";
import { Exchange } from "../../../../supervisor/event/exchange.ts";
import { outcome } from "../../../lib/outcome.ts";

const { TaskStart, TaskExit, ContainerUpdate, SnapshotPrepare } = containerd.events;
const start = (containerId: string) => ({
  name: "containerd.events.TaskStart",
  value: TaskStart.encode({ containerId, pid: 7 }).finish(),
});

/** Topics that come through filters, of what `publish` publishes. */
async function topics(filters: readonly string[], publish: (exchange: Exchange) => void): Promise<string[]> {
  const exchange = new Exchange();
  const controller = new AbortController();
  const events = exchange.subscribe(filters, controller.signal);
  publish(exchange);
  exchange.publish("end", "/end", undefined);
  const seen: string[] = [];
  const ending = exchange.subscribe([...filters, "namespace==end"], controller.signal);
  exchange.publish("end", "/end", undefined);
  void (async () => {
    for await (const _ of ending) break;
    await Bun.sleep(5);
    controller.abort();
  })();
  for await (const { topic } of events) if (topic !== "/end") seen.push(topic ?? "");
  return seen;
}

const some = (exchange: Exchange): void => {
  exchange.publish("a", "/tasks/start", start("c1"));
  exchange.publish("b", "/tasks/start", start("c2"));
  exchange.publish("a", "/tasks/exit", {
    name: "containerd.events.TaskExit",
    value: TaskExit.encode({ containerId: "c1", id: "c1", exitStatus: 3 }).finish(),
  });
  exchange.publish("a", "/containers/update", {
    name: "containerd.events.ContainerUpdate",
    value: ContainerUpdate.encode({ id: "c1", labels: { "x.y/z": "1" }, snapshotKey: "k1" }).finish(),
  });
  exchange.publish("a", "/snapshot/prepare", {
    name: "containerd.events.SnapshotPrepare",
    value: SnapshotPrepare.encode({ key: "k1", parent: "p", snapshotter: "native" }).finish(),
  });
  exchange.publish("a", "/other", { name: "un.known", value: new Uint8Array([1, 2, 3]) });
};

for (const [filters, expected] of [
  [["namespace==a,topic~=|^/tasks/|"], ["/tasks/start", "/tasks/exit"]],
  [["event.container_id==c2"], ["/tasks/start"]],
  [["event.container_id==c1"], ["/tasks/start", "/tasks/exit"]],
  [['event.labels."x.y/z"==1'], ["/containers/update"]],
  [["event.snapshot_key==k1"], ["/containers/update"]],
  [["event.key"], ["/snapshot/prepare"]],
  [
    ['topic=="/other"', "namespace==b"],
    ["/tasks/start", "/other"],
  ],
  [["event.toString", "event.constructor.name", "event.__proto__"], []],
  [["event"], []],
] as const) {
  test(`filters of events: ${filters.join(" or ")}`, async () => {
    expect(await topics(filters, some)).toEqual([...expected]);
  });
}

test("events come in the order of publication, also those of one turn of the event loop", async () => {
  const expected = Array.from({ length: 1000 }, (_, n) => `/n/${n}`);
  expect(
    await topics([], (exchange) => {
      for (const topic of expected) exchange.publish("a", topic, undefined);
    }),
  ).toEqual(expected);
});

test("a subscriber that does not read is cut off with an error, and the others are not", async () => {
  const exchange = new Exchange();
  const { signal } = new AbortController();
  const slow = exchange.subscribe([], signal);
  for (let n = 0; n < 65_537; n++) exchange.publish("a", "/x", undefined);
  expect(exchange.depth).toMatchObject({ subscribers: 1, queued: 0 });
  const quick = exchange.subscribe([], signal)[Symbol.asyncIterator]();
  exchange.publish("a", "/y", undefined);
  expect((await quick.next()).value?.topic).toBe("/y");
  expect(
    await outcome(
      (async () => {
        for await (const _ of slow);
      })(),
    ),
  ).toThrow("subscribe again and read faster");
});

test("a subscription whose call is gone before it begins leaves nothing", async () => {
  const exchange = new Exchange();
  const controller = new AbortController();
  controller.abort();
  for await (const _ of exchange.subscribe([], controller.signal)) expect.unreachable();
  expect(exchange.depth.subscribers).toBe(0);
});
