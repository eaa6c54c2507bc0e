import { expect, test } from "bun:test";
import { KeyedLock, Limiter } from "../../../../supervisor/image/lock.ts";

test("one at a time has a key, in the order of asking, and keys do not wait for each other", async () => {
  const lock = new KeyedLock();
  const order: string[] = [];
  const work = (name: string) => async (): Promise<void> => {
    order.push(`${name} begins`);
    await Bun.sleep(2);
    order.push(`${name} ends`);
  };
  await Promise.all([
    lock.with("k", undefined, work("a")),
    lock.with("k", undefined, work("b")),
    lock.with("other", undefined, work("c")),
  ]);
  expect(order.filter((line) => !line.startsWith("c"))).toEqual(["a begins", "a ends", "b begins", "b ends"]);
  expect(order.indexOf("c begins")).toBe(1);
});

test("who gives up waiting is told at once, and lets nobody in too early", async () => {
  const lock = new KeyedLock();
  const first = Promise.withResolvers<void>();
  const controller = new AbortController();
  const running = lock.with("k", undefined, () => first.promise);
  const waiting = lock.with("k", controller.signal, () => Promise.resolve());
  let isIn = false;
  const last = lock.with("k", undefined, async () => {
    isIn = true;
  });
  controller.abort(new Error("gone"));
  expect(await waiting.catch((error: Error) => error.message)).toBe("gone");
  await Bun.sleep(2);
  expect(isIn).toBe(false);
  first.resolve();
  await Promise.all([running, last]);
  expect(isIn).toBe(true);
});

test("so many run at a time and no more, whoever fails or gives up", async () => {
  const limiter = new Limiter(2);
  let running = 0;
  let most = 0;
  const controllers = Array.from({ length: 30 }, () => new AbortController());
  const work = controllers.map(({ signal }, index) =>
    limiter
      .with(signal, async () => {
        most = Math.max(most, ++running);
        await Bun.sleep(1);
        running--;
        if (index % 3 === 0) throw new Error("failed");
      })
      .catch(() => undefined),
  );
  for (const [index, controller] of controllers.entries()) if (index % 4 === 0) controller.abort(new Error("gone"));
  await Promise.all(work);
  expect(most).toBe(2);
  expect(running).toBe(0);
  let free = 0;
  await Promise.all([1, 2].map(() => limiter.with(undefined, async () => void free++)));
  expect(free).toBe(2);
});
