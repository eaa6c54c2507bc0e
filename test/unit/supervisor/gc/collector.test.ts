/** The collector against a simple model, on random graphs that change while it works. */

import { expect, test } from "bun:test";
import { World } from "./world.ts";

test("what is left after a collection is exactly what is needed", async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const world = new World(seed, 12);
    for (let count = 0; count < 150; count++) world.change();
    const kept = world.needed();
    await world.collector.collect();
    expect([...world.everything()].sort()).toEqual([...kept].sort());
    expect(world.wrong).toEqual([]);
    await world.close();
  }
}, 60_000);

test("nothing is removed while it is needed, whatever happens during the collection", async () => {
  for (let seed = 1; seed <= 8; seed++) {
    const world = new World(seed, 20);
    for (let count = 0; count < 200; count++) world.change();
    let isOver = false;
    const changing = (async () => {
      while (!isOver) {
        world.change();
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    for (let round = 0; round < 3; round++) await world.collector.collect();
    isOver = true;
    await changing;
    expect(world.wrong).toEqual([]);
    // Garbage that was made meanwhile goes with the next one.
    const kept = world.needed();
    await world.collector.collect();
    expect([...world.everything()].sort()).toEqual([...kept].sort());
    await world.close();
  }
}, 60_000);

test("an image that has expired goes with an event", async () => {
  const world = new World(1, 1);
  world.database.run(
    `INSERT INTO images VALUES ('one', 'i', 'd', '{"containerd.io/gc.expire":"2020-01-01T00:00:00Z"}', x'')`,
  );
  world.database.run("INSERT INTO blobs VALUES ('one', 'd', 1, 1, 1, '{}')");
  await world.collector.collect();
  expect(world.everything().size).toBe(0);
  expect(world.events).toEqual(["/images/delete"]);
  expect(world.unneeded).toEqual(["d"]);
  await world.close();
});

test("R29: a pinned image stays, though it has expired", async () => {
  const world = new World(1, 1);
  const expired = `"containerd.io/gc.expire":"2020-01-01T00:00:00Z"`;
  world.database.run(
    `INSERT INTO images VALUES ('one', 'i', 'd', '{${expired},"io.cri-containerd.pinned":"pinned"}', x'')`,
  );
  world.database.run("INSERT INTO blobs VALUES ('one', 'd', 1, 1, 1, '{}')");
  await world.collector.collect();
  expect([...world.everything()].sort()).toEqual(["content one d", "image one i"]);
  world.database.run(`UPDATE images SET labels = '{${expired},"io.cri-containerd.pinned":"no"}'`);
  await world.collector.collect();
  expect(world.everything().size).toBe(0);
  await world.close();
});

test("a blob that another namespace has stays with that", async () => {
  const world = new World(1, 1);
  world.database.run("INSERT INTO blobs VALUES ('one', 'd', 1, 1, 1, '{}')");
  world.database.run(`INSERT INTO blobs VALUES ('two', 'd', 1, 1, 1, '{"containerd.io/gc.root":"x"}')`);
  await world.collector.collect();
  expect([...world.everything()]).toEqual(["content two d"]);
  await world.close();
});

test("collects after a deletion by itself", async () => {
  const world = new World(1, 1);
  await world.collector.collect();
  world.database.run("INSERT INTO blobs VALUES ('one', 'd', 1, 1, 1, '{}')");
  world.collector.schedule();
  const deadline = performance.now() + 5000;
  while (world.everything().size > 0 && performance.now() < deadline) await Bun.sleep(5);
  expect(world.everything().size).toBe(0);
  await world.close();
});
