import { afterEach, expect, spyOn, test } from "bun:test";
import { deadlines } from "../../../proto/deadlines.ts";
import { Trimmer } from "../../../shim/trim.ts";

const shrink = spyOn(Bun, "shrink");
const limit = deadlines.trim;
afterEach(() => {
  Object.assign(deadlines, { trim: limit });
  shrink.mockClear();
});

test("PR-11 memory is given back once after a burst, not while it lasts, and then never again", async () => {
  Object.assign(deadlines, { trim: 200 });
  const timers = spyOn(globalThis, "setTimeout");
  const trimmer = new Trimmer();
  const end = performance.now() + 500;
  while (performance.now() < end) {
    trimmer.touch();
    await Bun.sleep(10);
  }
  expect(shrink).not.toHaveBeenCalled();
  // The second pass comes a second after the first.
  await Bun.sleep(2_000);
  const calls = shrink.mock.calls.length;
  expect(calls).toBeGreaterThan(0);
  const armed = timers.mock.calls.length;
  await Bun.sleep(500);
  expect(timers.mock.calls.length).toBe(armed);
  expect(shrink).toHaveBeenCalledTimes(calls);
  trimmer.touch();
  await Bun.sleep(500);
  expect(shrink.mock.calls.length).toBeGreaterThan(calls);
  timers.mockRestore();
}, 20_000);

test("without activity nothing is armed", async () => {
  Object.assign(deadlines, { trim: 10 });
  new Trimmer();
  await Bun.sleep(100);
  expect(shrink).not.toHaveBeenCalled();
});
