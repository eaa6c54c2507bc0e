/** Children of this process: spawn and reaper. The reaper waits for all of them, so nothing here uses Bun.spawn. */

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { close, memoryFile, O, open, pipe, readAll, rewind } from "../../../../shim/linux/file.ts";
import { Reaper } from "../../../../shim/linux/reaper.ts";
import { spawn } from "../../../../shim/linux/spawn.ts";
import { allProcesses, isAlive, ownDescriptors } from "../../../lib/process.ts";
import { waitFor } from "../../../lib/wait.ts";

const dir = mkdtempSync(join(tmpdir(), "berth-children-"));
const reaper = new Reaper();
reaper.start();
afterAll(() => rmSync(dir, { recursive: true }));
const text = (data: Uint8Array) => new TextDecoder().decode(data);
const failsWith = (code: string) => expect.objectContaining({ name: "ErrnoError", code });
const zombies = () => allProcesses().filter((p) => p.ppid === process.pid && p.state === "Z");

/** Runs a program to its end, and gives back what it printed. */
async function outputOf(argv: readonly string[], extra: readonly number[] = [], env = {}): Promise<string> {
  const [nothing, out] = [open("/dev/null", O.RDWR), memoryFile(undefined)];
  const path = argv[0]?.startsWith("/") ? argv[0] : `/usr/bin/${argv[0]}`;
  const child = reaper.spawn({ path, argv, env, fds: [nothing, out, out, ...extra] });
  await child.exited;
  rewind(out);
  const printed = text(readAll(out, 1 << 20));
  close(out);
  close(nothing);
  return printed;
}

function shell(script: string, fds: readonly number[] = []) {
  return reaper.spawn({ path: "/bin/sh", argv: ["sh", "-c", script], env: { PATH: "/usr/bin:/bin" }, fds });
}

describe("spawn", () => {
  test("gives exactly the descriptors named, whatever their order and however low they are", async () => {
    // Enough of them that their numbers lie below the child's highest, in an order that none of them keeps.
    const files = Array.from({ length: 40 }, (_, index) => memoryFile(new TextEncoder().encode(`file ${index}`)));
    const fds = [...files].reverse();
    expect(files.some((fd) => fd < files.length)).toBe(true);
    const out = memoryFile(undefined);
    fds[1] = out;
    const script = `
import os
for fd in sorted(map(int, os.listdir("/proc/self/fd"))):
    try: print(fd, "output" if fd == 1 else os.pread(fd, 100, 0).decode())
    except OSError as error: pass  # the directory that was just listed`;
    const argv = ["python3", "-S", "-c", script];
    await reaper.spawn({ path: "/usr/bin/python3", argv, env: {}, fds }).exited;
    rewind(out);
    const lines = text(readAll(out, 100_000)).trim().split("\n");
    expect(lines).toEqual(files.map((_, index) => `${index} ${index === 1 ? "output" : `file ${39 - index}`}`));
    for (const fd of [out, ...files]) close(fd);
  });

  test("closes all others", async () => {
    const open = memoryFile(undefined);
    expect((await outputOf(["ls", "/proc/self/fd"])).trim().split("\n")).toEqual(["0", "1", "2", "3"]);
    close(open);
  });

  test("one descriptor in several places", async () => {
    const file = memoryFile(new TextEncoder().encode("x"));
    const printed = await outputOf(["readlink", "/proc/self/fd/3", "/proc/self/fd/4"], [file, file]);
    expect(printed).toBe("/memfd:berth (deleted)\n".repeat(2));
    close(file);
  });

  test("no signal is ignored or blocked in a child, whatever we ignore", async () => {
    const own = readFileSync("/proc/self/status", "utf8");
    expect(/SigIgn:\s*(\w+)/.exec(own)?.[1]).not.toMatch(/^0+$/);
    const printed = await outputOf(["grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"]);
    expect(printed).toBe(["SigBlk", "SigIgn"].map((name) => `${name}:\t0000000000000000\n`).join(""));
  });

  test("a child dies of SIGPIPE, as programs in pipes must", async () => {
    const [reader, writer] = pipe();
    const child = reaper.spawn({ path: "/usr/bin/yes", argv: ["yes"], env: {}, fds: [0, writer, 2] });
    close(writer);
    close(reader);
    expect((await child.exited).status).toBe(128 + 13);
  });

  test("environment and arguments are exactly those given", async () => {
    const env = { A: "1", EMPTY: "", Ü: "ä b\nc" };
    expect(await outputOf(["env", "-0"], [], env)).toBe("A=1\0EMPTY=\0Ü=ä b\nc\0");
    expect(await outputOf(["printf", "%s|", "", "a b", "ü", '"'])).toBe('|a b|ü|"|');
  });

  test("each child leads a process group of its own", async () => {
    const child = shell("exec sleep 60");
    const stat = readFileSync(`/proc/${child.pid}/stat`, "utf8");
    expect(Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2])).toBe(child.pid);
    child.killGroup();
    expect((await child.exited).status).toBe(137);
  });

  test("a program that cannot be executed is an error at once", () => {
    const script = join(dir, "script");
    writeFileSync(script, "#!/no/such/interpreter\n", { mode: 0o755 });
    const plain = join(dir, "plain");
    writeFileSync(plain, "", { mode: 0o644 });
    const run = (path: string, argv = ["x"], fds: number[] = []) => spawn({ path, argv, env: {}, fds });
    const before = ownDescriptors().size;
    expect(() => run(join(dir, "missing"))).toThrow(failsWith("ENOENT"));
    expect(() => run(script)).toThrow(failsWith("ENOENT"));
    expect(() => run(plain)).toThrow(failsWith("EACCES"));
    expect(() => run(dir)).toThrow(failsWith("EACCES"));
    expect(() => run("/bin/true", ["a\0b"])).toThrow(failsWith("EINVAL"));
    expect(() => run("/bin/true", ["true"], [0, 1, 999])).toThrow(failsWith("EBADF"));
    expect(() => run("/bin/true", ["true"], [0, -1])).toThrow(failsWith("EBADF"));
    expect(ownDescriptors().size).toBe(before);
    expect(zombies()).toEqual([]);
  });

  const rounds = process.env["BERTH_LONG"] ? 20_000 : 1_000;
  test(`${rounds} children leave no descriptor and no zombie (20,000 with BERTH_LONG=1)`, async () => {
    const once = async () => {
      const child = reaper.spawn({ path: "/bin/true", argv: ["true"], env: {}, fds: [0, 1, 2] });
      return (await child.exited).status;
    };
    await once();
    const before = ownDescriptors().size;
    for (let round = 0; round < rounds; round++) expect(await once()).toBe(0);
    expect(ownDescriptors().size).toBe(before);
    expect(reaper.size).toBe(0);
    expect(zombies()).toEqual([]);
  }, 300_000);
});

describe("PR-4 the exit status", () => {
  test.each([
    ["exit 0", 0],
    ["exit 7", 7],
    ["exit 255", 255],
    ["kill -TERM $$", 143],
    ["kill -KILL $$", 137],
    ["kill -SEGV $$", 139],
    ["kill -HUP $$", 129],
    [`cd ${dir}; ulimit -c unlimited; kill -ABRT $$`, 134],
  ])("%s: %d", async (script, status) => {
    const begun = Date.now();
    const exit = await shell(script).exited;
    expect(exit.status).toBe(status);
    expect(exit.at).toBeGreaterThanOrEqual(begun);
    expect(exit.at).toBeLessThanOrEqual(Date.now());
  });

  test("of 200 children that end together, each its own, though their signals become one", async () => {
    const gate = pipe();
    const children = Array.from({ length: 200 }, (_, index) => shell(`read x; exit ${index % 100}`, [gate[0], 1, 2]));
    close(gate[1]);
    close(gate[0]);
    const exits = await Promise.all(children.map((child) => child.exited));
    expect(exits.map((exit) => exit.status)).toEqual(children.map((_, index) => index % 100));
  });
});

describe("T-KIL-5 signals", () => {
  test("reach the process, are refused when they do not exist, and say when nobody is there any more", async () => {
    const child = shell("trap 'exit 5' USR1; while :; do sleep 0.01; done");
    const caught = () => /SigCgt:\t(\w+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1] ?? "0";
    await waitFor("the trap for signal 10", () => (Number.parseInt(caught(), 16) & (1 << 9)) !== 0);
    expect(() => child.signal(99)).toThrow(failsWith("EINVAL"));
    expect(child.signal(0)).toBe(true);
    expect(child.signal(10)).toBe(true);
    expect((await child.exited).status).toBe(5);
    expect(child.signal(9)).toBe(false);
    child.killGroup();
  });

  test("a process that has ended but was not reaped yet is not another one", async () => {
    const child = shell("exit 3");
    // Without a turn of the event loop it stays a zombie, and keeps its pid.
    while (!readFileSync(`/proc/${child.pid}/stat`, "utf8").includes(") Z")) Bun.sleepSync(1);
    expect(child.signal(9)).toBe(true);
    expect((await child.exited).status).toBe(3);
  });

  test("killGroup takes the descendants too", async () => {
    const [reader, writer] = pipe();
    const child = shell("sleep 60 & echo $! >&3; wait", [0, 1, 2, writer]);
    close(writer);
    const descendant = Number(text(readSome(reader)));
    expect(isAlive(descendant)).toBe(true);
    child.killGroup();
    expect((await child.exited).status).toBe(137);
    await waitFor("the descendant to be reaped", () => !isAlive(descendant));
    close(reader);
  });
});

/** One line of a pipe. */
function readSome(fd: number): Uint8Array {
  const bytes: number[] = [];
  for (const byte = new Uint8Array(1); bytes.at(-1) !== 10; bytes.push(byte[0] ?? 10)) {
    if (readSync(fd, byte) === 0) break;
  }
  return new Uint8Array(bytes);
}

describe("PR-1 orphans", () => {
  /** In a subshell `$$` is still its parent, which is there until we have reaped it. */
  const whenOrphaned = "while [ -d /proc/$$ ]; do sleep 0.01; done;";

  /** Runs a program that leaves `script` to us, and gives back the orphan's pid. */
  async function orphan(script: string): Promise<number> {
    const [reader, writer] = pipe();
    const parent = shell(`(${script}) >/dev/null 2>&1 & echo $! >&3`, [0, 1, 2, writer]);
    close(writer);
    const pid = Number(text(readSome(reader)));
    close(reader);
    expect((await parent.exited).status).toBe(0);
    return pid;
  }

  test("a living one is taken over, can be signalled, and its end is told", async () => {
    const capture = reaper.capture();
    const pid = await orphan("sleep 60");
    const child = reaper.adopt(pid, capture);
    reaper.release(capture);
    expect(child.exit).toBeUndefined();
    expect(child.signal(15)).toBe(true);
    expect((await child.exited).status).toBe(143);
  });

  test("T-STA-7 one that has ended before it is taken over has its exit in the capture", async () => {
    const capture = reaper.capture();
    const pid = await orphan(`${whenOrphaned} exit 42`);
    await waitFor("the orphan to be reaped", () => capture.exits.has(pid));
    const child = reaper.adopt(pid, capture);
    expect(child.exit?.status).toBe(42);
    expect((await child.exited).status).toBe(42);
    expect(child.signal(9)).toBe(false);
    expect(reaper.size).toBe(0);
    reaper.release(capture);
  });

  test("one that has ended and is not reaped yet is told of once it is", async () => {
    const capture = reaper.capture();
    const pid = await orphan(`${whenOrphaned} sleep 0.1; exit 43`);
    while (!readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z")) Bun.sleepSync(5);
    const child = reaper.adopt(pid, capture);
    expect((await child.exited).status).toBe(43);
    reaper.release(capture);
  });

  test("a process that is not ours is refused: nobody would tell us of its end", () => {
    const capture = reaper.capture();
    const before = ownDescriptors().size;
    expect(() => reaper.adopt(1, capture)).toThrow(failsWith("ECHILD"));
    expect(() => reaper.adopt(4194304, capture)).toThrow(failsWith("ECHILD"));
    expect(ownDescriptors().size).toBe(before);
    expect(reaper.size).toBe(0);
    reaper.release(capture);
  });

  test("a captured exit is not mistaken for that of a living process with the same pid", async () => {
    const capture = reaper.capture();
    const pid = await orphan("sleep 60");
    capture.exits.set(pid, { status: 1, at: 0 });
    const child = reaper.adopt(pid, capture);
    expect(child.exit).toBeUndefined();
    child.signal(9);
    expect((await child.exited).status).toBe(137);
    reaper.release(capture);
  });

  test("those that nobody asks for are reaped, and a capture that has ended keeps nothing", async () => {
    const capture = reaper.capture();
    const kept = await orphan(`${whenOrphaned} exit 1`);
    await waitFor("the first", () => capture.exits.has(kept));
    reaper.release(capture);
    const pid = await orphan(`${whenOrphaned} exit 2`);
    await waitFor("the orphan to end", () => !isAlive(pid));
    await waitFor("it to be reaped", () => zombies().length === 0);
    expect([...capture.exits.keys()]).toEqual([kept]);
    expect(reaper.size).toBe(0);
  });
});
