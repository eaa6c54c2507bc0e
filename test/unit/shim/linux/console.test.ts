import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConsoleSocket, resize } from "../../../../shim/linux/console.ts";
import { close, fileIdentity, isInheritable, memoryFile } from "../../../../shim/linux/file.ts";
import { ownDescriptors } from "../../../lib/process.ts";

const dir = mkdtempSync(join(tmpdir(), "berth-console-"));
afterAll(() => rmSync(dir, { recursive: true }));
const failsWith = (code: string) => expect.objectContaining({ name: "ErrnoError", code });

/** What runc does, in Python: connects, sends, and ends. `sends` makes the list of descriptors to send as `fds`. */
function send(path: string, sends: string): void {
  const script = `
import array, os, pty, socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
${sends}
rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
sock.sendmsg([b'/dev/ptmx'], rights)`;
  run(script, path);
}

/** Runs a script with nothing that would open a descriptor here. */
function run(script: string, path: string): void {
  const { exitCode } = Bun.spawnSync(["/usr/bin/python3", "-c", script, path], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (exitCode !== 0) throw new Error(`the sender ended with ${exitCode}`);
}

describe("IO-7 the console socket", () => {
  test("gives the terminal that was sent, whose size can be set", () => {
    const socket = new ConsoleSocket(dir, "init.console");
    send(socket.path, "master, slave = pty.openpty(); fds = [master]");
    const master = socket.receive();
    socket.close();
    expect(existsSync(join(dir, "init.console"))).toBe(false);
    expect(isInheritable(master)).toBe(false);
    resize(master, 132, 43);
    const script =
      "import fcntl, struct, termios; print(struct.unpack('HHHH', fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))))";
    const { stdout } = Bun.spawnSync(["/usr/bin/python3", "-c", script], { stdin: master });
    expect(stdout.toString().trim()).toBe("(43, 132, 0, 0)");
    close(master);
  });

  test("lies in a directory of any length", () => {
    const deep = join(dir, "d".repeat(100), "e".repeat(100));
    mkdirSync(deep, { recursive: true });
    const socket = new ConsoleSocket(deep, `${"x".repeat(60)}.console`);
    expect(readdirSync(deep)).toEqual([`${"x".repeat(60)}.console`]);
    send(socket.path, "master, slave = pty.openpty(); fds = [master]");
    close(socket.receive());
    socket.close();
    expect(readdirSync(deep)).toEqual([]);
  });

  test("takes the first of many, and closes the others", () => {
    const before = new Set(ownDescriptors().values());
    const socket = new ConsoleSocket(dir, "many.console");
    send(socket.path, "fds = [os.memfd_create('first')] + [os.memfd_create('m') for i in range(200)]");
    const during = ownDescriptors().size;
    const first = socket.receive();
    expect(ownDescriptors().get(first)).toBe("/memfd:first (deleted)");
    expect(ownDescriptors().size).toBe(during + 1);
    close(first);
    socket.close();
    expect([...ownDescriptors().values()].filter((target) => !before.has(target))).toEqual([]);
  });

  test.each([
    ["nobody came", undefined],
    ["a caller that sends nothing", ["fds = []", "b''"]],
    ["a message without a descriptor", ["fds = []", "b'x'"]],
    ["a long message without a descriptor", ["fds = []", "b'x' * 100000"]],
  ] as const)("%s: an error at once, and no descriptor stays", (_, sends) => {
    const before = new Set(ownDescriptors().values());
    const socket = new ConsoleSocket(dir, "none.console");
    if (sends !== undefined) {
      // What the socket's buffer cannot take, the sender would wait for: it must not be able to make us wait.
      const script = `
import socket, sys
sock = socket.socket(socket.AF_UNIX); sock.setblocking(False)
sock.connect(sys.argv[1])
${sends[1]} and sock.send(${sends[1]})`;
      run(script, socket.path);
    }
    expect(() => socket.receive()).toThrow(failsWith("EAGAIN"));
    socket.close();
    expect([...ownDescriptors().values()].filter((target) => !before.has(target))).toEqual([]);
    expect(readdirSync(dir)).not.toContain("none.console");
  });

  test("that cannot be made leaves nothing open", () => {
    const before = new Set(ownDescriptors().values());
    const socket = new ConsoleSocket(dir, "twice.console");
    expect(() => new ConsoleSocket(dir, "twice.console")).toThrow(failsWith("EADDRINUSE"));
    expect(() => new ConsoleSocket(join(dir, "missing"), "x")).toThrow(failsWith("ENOENT"));
    expect(() => new ConsoleSocket(dir, "x".repeat(120))).toThrow(failsWith("ENAMETOOLONG"));
    socket.close();
    expect([...ownDescriptors().values()].filter((target) => !before.has(target))).toEqual([]);
    expect(fileIdentity(join(dir, "twice.console"))).toBeUndefined();
  });
});

test("the size of what is no terminal is an error", () => {
  const fd = memoryFile(undefined);
  expect(() => resize(fd, 1, 1)).toThrow("resize terminal");
  close(fd);
});
