import { expect, test } from "bun:test";
import { containerd, google } from "../../../../proto/gen/supervisor.js";
import { ByteSender, DATA, receiveBytes, WINDOW_UPDATE } from "../../../../supervisor/image/stream/bytes.ts";
import { type Message, Stream, Streams } from "../../../../supervisor/image/stream/streams.ts";
import { outcome } from "../../../lib/outcome.ts";

const { Data, WindowUpdate } = containerd.types.transfer;

/** What comes out of a stream, message by message. */
async function* outgoing(stream: Stream): AsyncGenerator<Message> {
  for await (const batch of stream.outgoing()) for (const bytes of batch) yield google.protobuf.Any.decode(bytes);
}

/** What a client sends, one by one. */
class Incoming implements AsyncIterator<Message> {
  readonly #queue: (Message | undefined)[] = [];
  #wake: (() => void) | undefined;
  push(message: Message | undefined): void {
    this.#queue.push(message);
    this.#wake?.();
  }
  async next(): Promise<IteratorResult<Message>> {
    while (this.#queue.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const value = this.#queue.shift();
    return value === undefined ? { done: true, value: undefined } : { done: false, value };
  }
}

const update = (size: number): Message => ({
  type_url: WINDOW_UPDATE,
  value: WindowUpdate.encode({ update: size }).finish(),
});
const data = (bytes: Uint8Array): Message => ({ type_url: DATA, value: Data.encode({ data: bytes }).finish() });
const bytesOf = (message: Message): Uint8Array => Data.decode(message.value ?? new Uint8Array()).data;

test("bytes come out as they were sent, and windows are granted on the way", async () => {
  const incoming = new Incoming();
  const stream = new Stream(incoming, new AbortController().signal);
  const sent = Buffer.concat(Array.from({ length: 400 }, (_, i) => Buffer.alloc(32 << 10, i)));
  let window = 0;
  const client = (async () => {
    let offset = 0;
    for await (const message of outgoing(stream)) {
      window += WindowUpdate.decode(message.value ?? new Uint8Array()).update;
      while (window >= 32 << 10 && offset < sent.length) {
        incoming.push(data(sent.subarray(offset, offset + (32 << 10))));
        offset += 32 << 10;
        window -= 32 << 10;
      }
      if (offset === sent.length) incoming.push(undefined);
    }
  })();
  const parts: Uint8Array[] = [];
  for await (const part of receiveBytes(stream)) parts.push(part);
  await client;
  expect(Buffer.concat(parts).equals(sent)).toBe(true);
  expect(stream.isClosed).toBe(true);
});

test("a client that sends more than it may is cut off", async () => {
  const incoming = new Incoming();
  const stream = new Stream(incoming, new AbortController().signal);
  for (let i = 0; i < 6; i++) incoming.push(data(new Uint8Array(1 << 20)));
  const taken = (async () => {
    let total = 0;
    for await (const part of receiveBytes(stream)) total += part.length;
    return total;
  })();
  // Nobody reads what the stream sends, so windows do not matter here: each is counted when it is granted.
  incoming.push(data(new Uint8Array(5 << 20)));
  expect(await outcome(taken)).toThrow("more data sent than the window allows");
});

/** A client of containerd: grants 64 KiB whenever it has less. @returns what it got */
async function goClient(
  stream: Stream,
  incoming: Incoming,
  onTaken: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  let window = 0;
  const grant = (): void => {
    if (window >= 64 << 10) return;
    window += 64 << 10;
    incoming.push(update(64 << 10));
  };
  grant();
  for await (const message of outgoing(stream)) {
    const bytes = bytesOf(message);
    await onTaken(bytes);
    window -= bytes.length;
    expect(window).toBeGreaterThanOrEqual(0);
    grant();
  }
}

test("the end is told only when the client has taken everything, whatever the length", async () => {
  for (const length of [
    0,
    1,
    512,
    1024,
    32 << 10,
    (32 << 10) + 1,
    64 << 10,
    65537,
    96 << 10,
    100_000,
    131_072,
    1_000_003,
  ]) {
    const incoming = new Incoming();
    const stream = new Stream(incoming, new AbortController().signal);
    let taken = 0;
    const client = goClient(stream, incoming, async (bytes) => {
      await Bun.sleep(bytes.length < 40_000 ? 1 : 0);
      taken += bytes.length;
    });
    const sender = new ByteSender(stream);
    const whole = crypto.getRandomValues(new Uint8Array(Math.min(length, 65536)));
    for (let left = length; left > 0; left -= Math.min(left, 50_000))
      await sender.write(whole.subarray(0, Math.min(left, 50_000)));
    const begun = performance.now();
    await sender.end();
    expect(taken).toBe(length);
    expect(performance.now() - begun).toBeLessThan(900);
    await client;
  }
});

test("nothing is sent without a window, and a client that has gone ends the sender", async () => {
  const incoming = new Incoming();
  const stream = new Stream(incoming, new AbortController().signal);
  const sender = new ByteSender(stream);
  const writing = sender.write(new Uint8Array(100_000));
  const first = outgoing(stream).next();
  expect(await Promise.race([first, Bun.sleep(30).then(() => "nothing")])).toBe("nothing");
  incoming.push(update(10));
  expect(bytesOf((await first).value as Message)).toHaveLength(10);
  incoming.push(undefined);
  expect(await outcome(writing)).toThrow("the receiver ended the stream");
});

test("absurd windows are refused", async () => {
  for (const size of [-1, 0]) {
    const incoming = new Incoming();
    const sender = new ByteSender(new Stream(incoming, new AbortController().signal));
    incoming.push(update(size));
    expect(await outcome(sender.write(new Uint8Array(100_000)))).toThrow("invalid window update");
  }
});

test("streams have an id of their own in each namespace", () => {
  const streams = new Streams();
  const stream = new Stream(new Incoming(), new AbortController().signal);
  streams.register("a", "1", stream);
  expect(() => streams.register("a", "1", stream)).toThrow("already exists");
  streams.register("b", "1", stream);
  expect(() => streams.get("c", "1")).toThrow("not found");
  streams.remove("a", "1");
  expect(() => streams.get("a", "1")).toThrow("not found");
});

test("who waits for a slow client is let go when the client has gone", async () => {
  const controller = new AbortController();
  const stream = new Stream(new Incoming(), controller.signal);
  const sends = Array.from({ length: 100 }, () => stream.send(update(1)));
  controller.abort();
  const results = await Promise.allSettled(sends);
  expect(results.filter(({ status }) => status === "rejected").length).toBeGreaterThan(0);
});
