import { expect, test } from "bun:test";
import { untilAborted } from "../../../../supervisor/grpc/requests.ts";

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
  expect(read()).rejects.toThrow("broken");
});
