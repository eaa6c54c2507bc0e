/** The queue of events against a containerd of our own that goes away, refuses, and takes its time (EV-1 to EV-5). */

import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deadlines } from "../../../../proto/deadlines.ts";
import { containerd, google } from "../../../../proto/gen/shim.js";
import { type CallContext, Code, Server, TtrpcError, unary } from "../../../../proto/ttrpc/index.ts";
import { Publisher } from "../../../../shim/task/publisher.ts";
import { waitFor } from "../../../lib/wait.ts";

const { ForwardRequest } = containerd.services.events.ttrpc.v1;
const dir = mkdtempSync(join(tmpdir(), "berth-publisher-"));
const limits = { ...deadlines };
let path = "";
let count = 0;
let daemon: FakeDaemon;
let publisher: Publisher;

/** containerd's event service, as far as a shim sees it. */
class FakeDaemon {
  /** Numbers of the events that were acknowledged, in order. */
  readonly acknowledged: number[] = [];
  /** Numbers of all events that came, acknowledged or not. */
  readonly seen: number[] = [];
  readonly requests: containerd.services.events.ttrpc.v1.ForwardRequest[] = [];
  readonly contexts: CallContext[] = [];
  /** What happens to an event before it is acknowledged. */
  behave: (number: number) => void | Promise<void> = () => {};
  /** The most events that were under way at one time. */
  most = 0;
  #now = 0;
  #server: Server | undefined;

  start(): void {
    rmSync(path, { force: true });
    this.#server = new Server();
    this.#server.register("containerd.services.events.ttrpc.v1.Events", {
      Forward: unary(ForwardRequest, google.protobuf.Empty, async (request, context) => {
        this.requests.push(request);
        this.contexts.push(context);
        const number = numberOf(request);
        this.seen.push(number);
        this.most = Math.max(this.most, ++this.#now);
        try {
          await this.behave(number);
        } finally {
          this.#now--;
        }
        this.acknowledged.push(number);
        return {};
      }),
    });
    this.#server.listen({ unix: path });
  }

  /** Goes away at once, with whatever is under way, and leaves its socket file, as a killed daemon does. */
  async stop(): Promise<void> {
    await this.#server?.shutdown({ graceMs: 0 });
    this.#server = undefined;
  }
}

function numberOf(request: containerd.services.events.ttrpc.v1.ForwardRequest): number {
  const value = request.envelope?.event?.value ?? new Uint8Array();
  return Number(containerd.events.TaskOOM.decode(value).containerId);
}

/** Publishes events with these numbers. */
function publish(from: number, to = from): void {
  for (let number = from; number <= to; number++) {
    publisher.publish("/tasks/oom", containerd.events.TaskOOM.encode({ containerId: String(number) }).finish());
  }
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);
const allSent = () => waitFor("all events to be acknowledged", () => publisher.length === 0, { timeout: 30_000 });
const fail = (code: number) => {
  throw new TtrpcError(code, "as told");
};

beforeEach(() => {
  path = join(dir, `s${++count}`);
  daemon = new FakeDaemon();
  publisher = new Publisher(path, "default");
  Object.assign(deadlines, { forward: 300, forwardBackoff: 100 });
});
afterEach(async () => {
  publisher.close();
  await daemon.stop();
  Object.assign(deadlines, limits);
});
afterAll(() => rmSync(dir, { recursive: true }));

describe("EV-1", () => {
  test("an envelope has a time, the namespace, the topic, and the event with a bare type", async () => {
    daemon.start();
    const begun = Date.now();
    const value = containerd.events.TaskStart.encode({ containerId: "c", pid: 7 }).finish();
    publisher.publish("/tasks/start", value);
    await allSent();
    const { envelope } = daemon.requests[0] ?? {};
    expect(envelope).toMatchObject({ namespace: "default", topic: "/tasks/start" });
    expect(envelope?.event?.type_url).toBe("containerd.events.TaskStart");
    expect(new Uint8Array(envelope?.event?.value ?? [])).toEqual(new Uint8Array(value));
    const at = Number(envelope?.timestamp?.seconds) * 1000 + Number(envelope?.timestamp?.nanos) / 1e6;
    expect(at).toBeGreaterThanOrEqual(begun);
    expect(at).toBeLessThanOrEqual(Date.now());
    expect(daemon.contexts[0]?.metadata.get("containerd-namespace-ttrpc")).toBe("default");
  });

  test("one at a time, in order, however slow the answers are", async () => {
    daemon.behave = (number) => Bun.sleep(number % 7);
    daemon.start();
    publish(1, 100);
    await allSent();
    expect(daemon.acknowledged).toEqual(range(1, 100));
    expect(daemon.seen).toEqual(range(1, 100));
    expect(daemon.most).toBe(1);
  });

  test("without an address nothing is kept", async () => {
    const nobody = new Publisher("", "default");
    nobody.publish("/tasks/oom", new Uint8Array());
    expect(nobody.length).toBe(0);
    expect(await nobody.flush()).toBe(true);
  });
});

describe("EV-3 an outage", () => {
  test("before the first event: all are kept and come in order", async () => {
    publish(1, 50);
    await Bun.sleep(250);
    expect(publisher.length).toBe(50);
    daemon.start();
    publish(51, 60);
    await allSent();
    expect(daemon.seen).toEqual(range(1, 60));
  });

  test("in the middle: what was not acknowledged comes again, what was does not", async () => {
    daemon.start();
    publish(1, 3);
    await allSent();
    daemon.behave = () => new Promise(() => {});
    publish(4, 6);
    await waitFor("the fourth", () => daemon.seen.includes(4));
    await daemon.stop();
    publish(7, 8);
    await Bun.sleep(150);
    daemon.behave = () => {};
    daemon.start();
    await allSent();
    expect(daemon.acknowledged).toEqual(range(1, 8));
    expect(daemon.seen.filter((number) => number <= 3)).toEqual([1, 2, 3]);
  });

  test("between events: the next goes to the new daemon at the first attempt", async () => {
    daemon.start();
    publish(1);
    await allSent();
    await daemon.stop();
    daemon.start();
    await Bun.sleep(20);
    const begun = performance.now();
    publish(2);
    await allSent();
    expect(performance.now() - begun).toBeLessThan(90);
    expect(daemon.seen).toEqual([1, 2]);
  });

  test("an answer that does not come is waited for no longer than the limit", async () => {
    let calls = 0;
    daemon.behave = () => (++calls === 1 ? new Promise(() => {}) : undefined);
    daemon.start();
    const begun = performance.now();
    publish(1, 2);
    await allSent();
    expect(performance.now() - begun).toBeGreaterThan(290);
    expect(daemon.seen).toEqual([1, 1, 2]);
    expect(daemon.acknowledged).toEqual([1, 2]);
  });

  test("wake() tries again at once, however long the pause has become", async () => {
    Object.assign(deadlines, { forwardBackoff: 60_000 });
    publish(1);
    await Bun.sleep(800);
    daemon.start();
    const begun = performance.now();
    publisher.wake();
    await allSent();
    expect(performance.now() - begun).toBeLessThan(90);
    publisher.wake();
  });

  const rounds = process.env["BERTH_LONG"] ? 40 : 4;
  test(`of every kind, ${rounds} times (40 with BERTH_LONG=1): each event is acknowledged once, in order`, async () => {
    let seed = 12345;
    const random = () => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) / 2 ** 24;
    };
    Object.assign(deadlines, { forward: 50 });
    let stopping: Promise<void> | undefined;
    daemon.behave = async () => {
      const chance = random();
      if (chance < 0.1) fail(Code.Unavailable);
      if (chance < 0.15) await new Promise(() => {});
      if (chance < 0.3) await Bun.sleep(random() * 20);
      if (chance > 0.93 && stopping === undefined) {
        stopping = daemon.stop().then(async () => {
          await Bun.sleep(random() * 100);
          daemon.start();
          stopping = undefined;
        });
        await new Promise(() => {});
      }
    };
    daemon.start();
    for (let round = 0; round < rounds; round++) {
      publish(round * 25 + 1, round * 25 + 25);
      await Bun.sleep(random() * 200);
    }
    await allSent();
    const last = rounds * 25;
    // An answer may have been under way when its caller gave up: only then may an event come to be acknowledged twice.
    expect([...new Set(daemon.acknowledged)]).toEqual(range(1, last));
    expect(daemon.seen).toEqual([...daemon.seen].sort((a, b) => a - b));
    await stopping;
  }, 120_000);
});

describe("what containerd answers", () => {
  test("an event that it will never take is dropped at once, and the next goes on", async () => {
    daemon.behave = (number) => (number === 2 ? fail(Code.InvalidArgument) : undefined);
    daemon.start();
    publish(1, 3);
    await allSent();
    expect(daemon.seen).toEqual([1, 2, 3]);
    expect(daemon.acknowledged).toEqual([1, 3]);
  });

  test("an unknown failure is tried five times", async () => {
    daemon.behave = (number) => (number === 2 ? fail(Code.Unknown) : undefined);
    daemon.start();
    publish(1, 3);
    await allSent();
    expect(daemon.seen).toEqual([1, 2, 2, 2, 2, 2, 3]);
    expect(daemon.acknowledged).toEqual([1, 3]);
  });

  test("an unknown failure that passes costs no event", async () => {
    let calls = 0;
    daemon.behave = () => (++calls < 5 ? fail(Code.Unknown) : undefined);
    daemon.start();
    publish(1, 2);
    await allSent();
    expect(daemon.acknowledged).toEqual([1, 2]);
  });

  test("unavailable is no refusal, however often it is said", async () => {
    let calls = 0;
    daemon.behave = () => (++calls <= 12 ? fail(Code.Unavailable) : undefined);
    daemon.start();
    publish(1, 2);
    await allSent();
    expect(daemon.acknowledged).toEqual([1, 2]);
  });
});

describe("EV-3 the bound of 10,000", () => {
  test("while containerd is away the oldest are dropped", async () => {
    publish(1, 10_050);
    expect(publisher.length).toBe(10_000);
    daemon.start();
    await allSent();
    // The first was being sent, as far as could be known, and stays.
    const kept = daemon.acknowledged;
    expect(kept).toHaveLength(10_000);
    expect(kept.slice(1)).toEqual(range(52, 10_050));
    expect(kept[0]).toBe(1);
  }, 60_000);

  test("an event that is under way is not taken back", async () => {
    const gate = Promise.withResolvers<void>();
    Object.assign(deadlines, { forward: 10_000 });
    daemon.behave = (number) => (number === 1 ? gate.promise : undefined);
    daemon.start();
    publish(1);
    await waitFor("the first to be under way", () => daemon.seen.length === 1);
    publish(2, 10_001);
    expect(publisher.length).toBe(10_000);
    gate.resolve();
    await allSent();
    expect(daemon.seen.slice(0, 3)).toEqual([1, 3, 4]);
    expect(daemon.seen).toHaveLength(10_000);
  }, 60_000);
});

describe("EV-5 flush", () => {
  test("ends when everything is acknowledged", async () => {
    daemon.behave = () => Bun.sleep(5);
    daemon.start();
    publish(1, 20);
    expect(await publisher.flush()).toBe(true);
    expect(daemon.acknowledged).toHaveLength(20);
    expect(await publisher.flush()).toBe(true);
  });

  test("ends at its limit, and says that it failed", async () => {
    publish(1);
    const begun = performance.now();
    expect(await publisher.flush(200)).toBe(false);
    const took = performance.now() - begun;
    expect(took).toBeGreaterThan(190);
    expect(took).toBeLessThan(1_000);
  });

  test("does not wait for a pause to end, nor make one", async () => {
    Object.assign(deadlines, { forwardBackoff: 60_000 });
    publish(1);
    await Bun.sleep(1_000);
    const flushed = publisher.flush(2_000);
    await Bun.sleep(400);
    daemon.start();
    expect(await flushed).toBe(true);
  });
});

test("close ends it for good", async () => {
  publish(1);
  publisher.close();
  daemon.start();
  publish(2);
  publisher.wake();
  await Bun.sleep(300);
  expect(publisher.length).toBe(0);
  expect(daemon.seen).toEqual([]);
});
