/** Files that are watched, and who reads them. */

import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { close, O, open, pipe } from "../../../../shim/linux/file.ts";
import { IN, type Watch, watchFile } from "../../../../shim/linux/inotify.ts";
import { countReaders, hasWriters } from "../../../../shim/linux/readers.ts";
import { ownDescriptors } from "../../../lib/process.ts";
import { waitFor } from "../../../lib/wait.ts";

const dir = mkdtempSync(join(tmpdir(), "berth-watches-"));
const children: Bun.Subprocess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill(9);
    await child.exited;
  }
});
afterAll(() => rmSync(dir, { recursive: true }));
let count = 0;
const newFile = () => {
  const path = join(dir, `file${++count}`);
  writeFileSync(path, "");
  return path;
};
const look = (path: string) => readFileSync(path);
/** The kernel has told us of everything that has happened until now. */
const settle = () => Bun.sleep(50);

describe("watchFile", () => {
  test("tells each event asked for, and no other", async () => {
    const path = newFile();
    const seen: number[] = [];
    const watch = watchFile(path, IN.MODIFY, (mask) => seen.push(mask));
    look(path);
    appendFileSync(path, "x");
    await waitFor("the event", () => seen.length > 0);
    await settle();
    expect(seen).toEqual([IN.MODIFY]);
    watch.close();
    appendFileSync(path, "x");
    await settle();
    expect(seen).toEqual([IN.MODIFY]);
    watch.close();
  });

  test("two watches of one file, by whatever name, do not take each other's events", async () => {
    const path = newFile();
    const [first, second]: number[][] = [[], []];
    const watches = [
      watchFile(path, IN.OPEN, (mask) => first?.push(mask)),
      watchFile(join(dir, ".", path.slice(dir.length)), IN.CLOSE_NOWRITE, (mask) => second?.push(mask)),
    ];
    look(path);
    await waitFor("both events", () => first?.length && second?.length);
    await settle();
    expect([first, second]).toEqual([[IN.OPEN], [IN.CLOSE_NOWRITE]]);
    watches[1]?.close();
    look(path);
    await waitFor("the second", () => first?.length === 2);
    expect(second).toHaveLength(1);
    watches[0]?.close();
  });

  test("a watch may be replaced by another without a gap", async () => {
    const path = newFile();
    let seen = 0;
    let watch: Watch = watchFile(path, IN.CLOSE_NOWRITE, () => seen++);
    for (let round = 1; round <= 10; round++) {
      const before = watch;
      watch = watchFile(path, IN.CLOSE_NOWRITE | IN.OPEN, (mask) => mask & IN.CLOSE_NOWRITE && seen++);
      before.close();
      look(path);
      await waitFor(`event ${round}`, () => seen === round);
    }
    watch.close();
  });

  test("tells that the file is gone, and closing comes to nothing then", async () => {
    const path = newFile();
    const seen: number[] = [];
    const watch = watchFile(path, IN.MODIFY, (mask) => seen.push(mask));
    rmSync(path);
    await waitFor("IGNORED", () => seen.includes(IN.IGNORED));
    watch.close();
    const again = newFile();
    let other = 0;
    const second = watchFile(again, IN.MODIFY, () => other++);
    watch.close();
    appendFileSync(again, "x");
    await waitFor("the other's event", () => other === 1);
    second.close();
  });

  test("a watcher may close itself, or another, within an event", async () => {
    const path = newFile();
    const seen: string[] = [];
    const first: Watch = watchFile(path, IN.MODIFY, () => {
      seen.push("first");
      first.close();
    });
    const second = watchFile(path, IN.MODIFY, () => seen.push("second"));
    appendFileSync(path, "x");
    await waitFor("the event", () => seen.length === 2);
    appendFileSync(path, "x");
    await waitFor("the second event", () => seen.length === 3);
    expect(seen).toEqual(["first", "second", "second"]);
    second.close();
  });

  test("a missing file is an error", () => {
    expect(() => watchFile(join(dir, "missing"), IN.OPEN, () => {})).toThrow("no such file or directory");
  });

  test("all watches of a process share one descriptor", () => {
    const watches = [watchFile(newFile(), IN.OPEN, () => {})];
    const before = ownDescriptors().size;
    for (let index = 0; index < 100; index++) watches.push(watchFile(newFile(), IN.OPEN, () => {}));
    expect(ownDescriptors().size).toBe(before);
    for (const watch of watches) watch.close();
  });
});

function newFifo(): string {
  const path = join(dir, `fifo${++count}`);
  expect(Bun.spawnSync(["mkfifo", path]).exitCode).toBe(0);
  return path;
}

/** Starts a program that opens the FIFO, and waits until it has. */
async function opener(path: string, argv: string[], shown = path): Promise<Bun.Subprocess> {
  const child = Bun.spawn(argv, { stdin: "ignore", stdout: "ignore", stderr: "inherit" });
  children.push(child);
  await waitFor("the FIFO to be open", () =>
    Bun.spawnSync(["sh", "-c", `ls -l /proc/${child.pid}/fd`])
      .stdout.toString()
      .includes(`${shown}\n`),
  );
  return child;
}

describe("countReaders", () => {
  const hold = (path: string) => {
    const fd = open(path, O.RDWR | O.NONBLOCK);
    return { fd, release: () => close(fd) };
  };

  test("counts who reads, once for each descriptor, but neither writers nor ourselves", async () => {
    const path = newFifo();
    const { fd, release } = hold(path);
    expect(await countReaders(fd)).toBe(0);
    const reader = await opener(path, ["sh", "-c", `exec sleep 60 <${path}`]);
    expect(await countReaders(fd)).toBe(1);
    await opener(path, ["sh", "-c", `exec sleep 60 3<>${path} 4<${path}`]);
    expect(await countReaders(fd)).toBe(3);
    await opener(path, ["sh", "-c", `exec sleep 60 >${path}`]);
    expect(await countReaders(fd)).toBe(3);
    reader.kill(9);
    await reader.exited;
    expect(await countReaders(fd)).toBe(2);
    release();
  });

  test("a reader in another mount namespace, where the file has another name", async () => {
    if (process.getuid?.() !== 0) throw new Error("this test needs root");
    const path = newFifo();
    const { fd, release } = hold(path);
    const other = join(dir, "other");
    mkdirSync(other);
    const script = `mount --bind ${dir} ${other} && exec sleep 60 <${other}/${path.split("/").at(-1)}`;
    await opener(path, ["unshare", "-m", "sh", "-c", script], path.replace(dir, other));
    expect(await countReaders(fd)).toBe(1);
    release();
  });

  test("a file whose name is gone, and another has taken it", async () => {
    const path = newFifo();
    const { fd, release } = hold(path);
    await opener(path, ["sh", "-c", `exec sleep 60 <${path}`]);
    rmSync(path);
    expect(await countReaders(fd)).toBe(1);
    writeFileSync(path, "");
    expect(await countReaders(fd)).toBe(1);
    release();
  });
});

test("hasWriters: until the last has gone", () => {
  const [reader, writer] = pipe();
  expect(hasWriters(reader)).toBe(true);
  close(writer);
  expect(hasWriters(reader)).toBe(false);
  close(reader);
});
