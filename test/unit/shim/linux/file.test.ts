import { afterAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ErrnoError, isErrno } from "../../../../shim/linux/errno.ts";
import {
  canonicalPath,
  changeOwner,
  close,
  duplicate,
  duplicateTo,
  exists,
  fileIdentity,
  fileType,
  isInheritable,
  listDirectory,
  makeDirectories,
  makeDirectory,
  memoryFile,
  O,
  open,
  pipe,
  position,
  readAll,
  readFile,
  readFileIfExists,
  readInto,
  readLink,
  removeFile,
  replaceFile,
  rewind,
  setNonBlocking,
  writeAll,
  writeFile,
  writeSome,
} from "../../../../shim/linux/file.ts";
import { Reaper } from "../../../../shim/linux/reaper.ts";
import { spawn } from "../../../../shim/linux/spawn.ts";
import { ownDescriptors } from "../../../lib/process.ts";

const dir = mkdtempSync(join(tmpdir(), "berth-file-"));
afterAll(() => rmSync(dir, { recursive: true }));
const bytes = (text: string) => new TextEncoder().encode(text);
const text = (data: Uint8Array) => new TextDecoder().decode(data);
const failsWith = (code: string) => expect.objectContaining({ name: "ErrnoError", code });

describe("errors", () => {
  test("say the call, the subject and the reason", () => {
    const path = join(dir, "missing");
    expect(() => open(path, O.RDONLY)).toThrow(`open ${path}: no such file or directory`);
    expect(() => readInto(-1, new Uint8Array(1))).toThrow("read -1: bad file descriptor");
  });

  test.each([
    ["ENOENT", () => open(join(dir, "missing"), O.RDONLY)],
    ["EISDIR", () => open(dir, O.WRONLY)],
    ["ENOTDIR", () => open("/etc/passwd/x", O.RDONLY)],
    ["EEXIST", () => open("/etc/passwd", O.CREAT | O.EXCL | O.WRONLY)],
    ["ENXIO", () => open(fifo("nobody"), O.WRONLY | O.NONBLOCK)],
    ["ELOOP", () => open(link("loop", "loop"), O.RDONLY)],
    ["ENAMETOOLONG", () => open(join(dir, "x".repeat(300)), O.RDONLY)],
    ["EINVAL", () => open(`${dir}/a\0b`, O.RDONLY)],
    ["ENOSPC", () => writeFile("/dev/full", "x")],
  ])("%s", (code, action) => {
    expect(action).toThrow(failsWith(code));
  });

  test("an error number without a name is still told", () => {
    expect(new ErrnoError(9999, "call", 1)).toMatchObject({ code: "E9999", message: "call 1: error 9999" });
    expect(isErrno(new Error("ENOENT"), "ENOENT")).toBe(false);
    expect(isErrno(new ErrnoError(2, "open", "x"), "EPERM", "ENOENT")).toBe(true);
  });
});

function fifo(name: string): string {
  const path = join(dir, name);
  if (!existsSync(path)) expect(Bun.spawnSync(["mkfifo", path]).exitCode).toBe(0);
  return path;
}

function link(name: string, target: string): string {
  const path = join(dir, name);
  symlinkSync(target, path);
  return path;
}

describe("reading and writing", () => {
  test("a file's text, and none", () => {
    const path = join(dir, "text");
    writeFileSync(path, "ä\n");
    expect(readFile(path)).toBe("ä\n");
    expect(readFileIfExists(path)).toBe("ä\n");
    expect(readFileIfExists(join(dir, "missing"))).toBeUndefined();
    expect(readFileIfExists(join(path, "below"))).toBeUndefined();
    expect(() => readFileIfExists(dir)).toThrow(failsWith("EISDIR"));
  });

  test.each([0, 1, 4095, 4096, 4097, 16384, 100_000])("%d bytes up to the limit, and not one more", (length) => {
    const path = join(dir, "sized");
    writeFileSync(path, "x".repeat(length));
    expect(readFile(path, length)).toHaveLength(length);
    if (length > 0) expect(() => readFile(path, length - 1)).toThrow(failsWith("EFBIG"));
  });

  test("an endless file ends at the limit", () => {
    expect(() => readFile("/dev/zero", 1000)).toThrow(failsWith("EFBIG"));
  });

  test("what would block is -1 or an error, never a wait", () => {
    const [reader, writer] = pipe();
    setNonBlocking(reader, true);
    setNonBlocking(writer, true);
    expect(readInto(reader, new Uint8Array(1))).toBe(-1);
    expect(() => readAll(reader, 10)).toThrow(failsWith("EAGAIN"));
    let written = 0;
    for (
      let count = writeSome(writer, new Uint8Array(5000));
      count > 0;
      count = writeSome(writer, new Uint8Array(5000))
    )
      written += count;
    expect(written).toBeGreaterThan(0);
    expect(() => writeAll(writer, new Uint8Array(1))).toThrow(failsWith("EAGAIN"));
    close(writer);
    expect(readAll(reader, 65536)).toHaveLength(written);
    expect(readInto(reader, new Uint8Array(1))).toBe(0);
    close(reader);
  });

  test("a broken pipe is an error, not the end of this process", () => {
    const [reader, writer] = pipe();
    close(reader);
    expect(() => writeSome(writer, bytes("x"))).toThrow(failsWith("EPIPE"));
    close(writer);
  });
});

describe("replaceFile", () => {
  test("sets content and mode, over a file and anew", () => {
    const path = join(dir, "replaced");
    replaceFile(path, "old", 0o644);
    expect(statSync(path).mode & 0o777).toBe(0o644);
    replaceFile(path, bytes("new"));
    expect(readFileSync(path, "utf8")).toBe("new");
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("a reader never meets a part: every look sees one whole content", async () => {
    const path = join(dir, "atomic");
    replaceFile(path, "a".repeat(100_000));
    const looker = Bun.spawn(
      [
        "/usr/bin/python3",
        "-c",
        `import sys
seen=set()
print("ready", flush=True)
while "stop" not in seen:
  t=open(${JSON.stringify(path)}).read()
  seen.add(t if t=="stop" else t[0]+str(len(t)) if len(set(t))==1 else "torn")
print(sorted(seen))`,
      ],
      { stdout: "pipe" },
    );
    const output = looker.stdout.getReader();
    await output.read();
    for (let index = 0; index < 1000; index++) replaceFile(path, (index % 2 ? "a" : "b").repeat(100_000 + (index % 2)));
    replaceFile(path, "stop");
    const { value } = await output.read();
    expect(text(value ?? new Uint8Array())).not.toMatch(/torn|[ab]0/);
    await looker.exited;
  });

  test("what fails leaves the old file and nothing else", () => {
    const inside = join(dir, "failing");
    mkdirSync(join(inside, "directory"), { recursive: true });
    const before = ownDescriptors().size;
    expect(() => replaceFile(join(inside, "directory"), "x")).toThrow(failsWith("EISDIR"));
    expect(() => replaceFile(join(inside, "none/x"), "x")).toThrow(failsWith("ENOENT"));
    expect(readdirSync(inside)).toEqual(["directory"]);
    expect(ownDescriptors().size).toBe(before);
  });

  test("a left-over or planted temporary file is no way elsewhere", () => {
    const path = join(dir, "target");
    writeFileSync(join(dir, ".target.tmp"), "longer than what comes now");
    replaceFile(path, "x");
    expect(readFileSync(path, "utf8")).toBe("x");
    writeFileSync(join(dir, "victim"), "safe");
    symlinkSync("victim", join(dir, ".target.tmp"));
    expect(() => replaceFile(path, "y")).toThrow(failsWith("ELOOP"));
    expect(readFileSync(join(dir, "victim"), "utf8")).toBe("safe");
  });
});

describe("directories and names", () => {
  test("makeDirectories makes what is missing, with the mode", () => {
    const path = join(dir, "a/b/c");
    makeDirectories(path, 0o700);
    makeDirectories(path, 0o700);
    makeDirectories(`${path}/`, 0o700);
    expect(statSync(join(dir, "a")).mode & 0o777).toBe(0o700);
    expect(fileType(path)).toBe("directory");
    expect(() => makeDirectories("/proc/berth/x", 0o700)).toThrow(failsWith("ENOENT"));
    makeDirectory(path, 0o700);
  });

  test("listDirectory gives all names, however many", () => {
    const path = join(dir, "many");
    mkdirSync(path);
    const names = Array.from({ length: 2000 }, (_, index) => `ü name with spaces ${index}`).sort();
    for (const name of names) writeFileSync(join(path, name), "");
    expect(listDirectory(path).sort()).toEqual(names);
    expect(() => listDirectory("/etc/passwd")).toThrow(failsWith("ENOTDIR"));
  });

  test("removeFile takes a missing file for removed", () => {
    const path = join(dir, "gone");
    writeFileSync(path, "");
    removeFile(path);
    removeFile(path);
    expect(existsSync(path)).toBe(false);
    expect(() => removeFile(dir)).toThrow(failsWith("EISDIR"));
  });

  test("kinds and identities", () => {
    writeFileSync(join(dir, "plain"), "");
    symlinkSync("plain", join(dir, "alias"));
    expect(fileType(join(dir, "alias"))).toBe("file");
    expect(fileType(fifo("kind"))).toBe("fifo");
    expect(fileType("/dev/null")).toBe("other");
    expect(fileType(join(dir, "missing"))).toBeUndefined();
    expect(fileIdentity(join(dir, "alias"))).toBe(fileIdentity(join(dir, "plain")));
    expect(fileIdentity(join(dir, "plain"))).not.toBe(fileIdentity(dir));
    expect(fileIdentity(join(dir, "missing"))).toBeUndefined();
    expect(readLink(join(dir, "alias"))).toBe("plain");
    expect(readLink(join(dir, "plain"))).toBeUndefined();
    expect(exists(join(dir, "alias"))).toBe(true);
  });

  test("canonicalPath follows links above the last part only", () => {
    mkdirSync(join(dir, "real/sub"), { recursive: true });
    symlinkSync("real", join(dir, "way"));
    expect(canonicalPath(join(dir, "way/sub"))).toBe(join(dir, "real/sub"));
    expect(canonicalPath(join(dir, "way"))).toBe(join(dir, "way"));
    expect(canonicalPath(join(dir, "nowhere/x"))).toBe(join(dir, "nowhere/x"));
  });
});

describe("descriptors", () => {
  test("all are close-on-exec until they are given a place", () => {
    const path = join(dir, "plain-fd");
    writeFileSync(path, "content");
    const fd = open(path, O.RDONLY);
    const copy = duplicate(fd);
    const ends = pipe();
    const memory = memoryFile(undefined);
    for (const each of [fd, copy, ...ends, memory]) expect(isInheritable(each)).toBe(false);
    duplicateTo(fd, copy);
    expect(isInheritable(copy)).toBe(true);
    expect(text(readAll(copy, 10))).toBe("content");
    expect(position(fd)).toBe(7);
    rewind(fd);
    expect(position(copy)).toBe(0);
    for (const each of [fd, copy, ...ends, memory]) close(each);
    expect(isInheritable(fd)).toBe(false);
    close(-1);
  });

  test("an owner is set by descriptor", () => {
    if (process.getuid?.() !== 0) throw new Error("this test needs root");
    const path = join(dir, "owned");
    writeFileSync(path, "");
    const fd = open(path, O.RDONLY);
    changeOwner(fd, 1000, 4294967294);
    close(fd);
    expect(statSync(path)).toMatchObject({ uid: 1000, gid: 4294967294 });
    expect(() => changeOwner(-1, 0, 0)).toThrow(failsWith("EBADF"));
  });
});

describe("memoryFile", () => {
  test("holds what it was given, from the start", () => {
    const fd = memoryFile(bytes("content"));
    expect(position(fd)).toBe(0);
    expect(text(readAll(fd, 100))).toBe("content");
    close(fd);
  });

  test("with a limit takes that much and then EPERM, also from a child, and cannot be made larger or smaller", async () => {
    const fd = memoryFile(undefined, 8192);
    expect(() => truncateSync(`/proc/self/fd/${fd}`, 100_000)).toThrow("EPERM");
    expect(() => truncateSync(`/proc/self/fd/${fd}`, 1)).toThrow("EPERM");
    const reaper = new Reaper();
    reaper.start();
    const nothing = open("/dev/null", O.RDWR);
    const argv = ["sh", "-c", "exec yes berth"];
    const child = reaper.watch(() => spawn({ path: "/bin/sh", argv, env: {}, fds: [nothing, fd, nothing] }));
    expect((await child.exited).status).not.toBe(0);
    expect(position(fd)).toBe(8192);
    rewind(fd);
    expect(text(readAll(fd, 8192)).startsWith("berth\nberth\n")).toBe(true);
    close(nothing);
    close(fd);
  });
});
