import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hasListener } from "../../../shim/linux/listener.ts";
import { addressOf, defaultSocketDirectory, pathOf, socketPath } from "../../../shim/socket.ts";
import { addressIn, calls } from "./command/calls.ts";

const dir = mkdtempSync(join(tmpdir(), "berth-socket-"));
afterAll(() => rmSync(dir, { recursive: true }));

describe("SK-1 the address is the Go shim's", () => {
  for (const { title, argv, answer, action } of calls) {
    const expected = action === "start" ? addressIn(answer) : "";
    if (expected === "") continue;
    test(title, () => {
      const after = (name: string) => argv[argv.indexOf(name) + 1] ?? "";
      const path = socketPath("/run/containerd/s", after("-address"), after("-namespace"), after("-id"));
      expect(addressOf(path)).toBe(expected);
    });
  }

  test("the debug socket has a name of its own", () => {
    const [plain, debug] = [undefined, "debug" as const].map((end) => socketPath("/s", "/c.sock", "n", "id", end));
    expect(plain).not.toBe(debug);
    const hash = new Bun.CryptoHasher("sha256").update("/c.sock/n/id/debug").digest("hex");
    expect(debug).toBe(`/s/${hash}`);
  });

  test("parts are joined as filepath.Join does", () => {
    const same = socketPath("/s", "/run/c.sock", "n", "id");
    expect(socketPath("/s", "/run//c.sock", "n", "id")).toBe(same);
    expect(socketPath("/s", "/run/c.sock/", "n", "id")).toBe(same);
    expect(socketPath("/s", "", "n", "id")).toBe(socketPath("/s", "n", "", "id"));
  });
});

describe("SK-1 what is too long or not absolute", () => {
  test("a path of 106 bytes fits, one of 107 does not, nor a directory of 43", () => {
    const fits = `/${"d".repeat(40)}`;
    expect(socketPath(fits, "/c", "n", "id")).toHaveLength(106);
    expect(() => socketPath(`${fits}d`, "/c", "n", "id")).toThrow("longer than 106 bytes");
    expect(() => socketPath(`${fits}dd`, "/c", "n", "id")).toThrow("at most 42 bytes");
  });

  test("bytes count, not characters", () => {
    expect(() => socketPath(`/${"ü".repeat(21)}`, "/c", "n", "id")).toThrow("at most 42 bytes");
  });

  test.each(["", "relative", "./s"])("directory %j is refused", (directory) => {
    expect(() => socketPath(directory, "/c", "n", "id")).toThrow("must be absolute");
  });
});

test("SK-1 the directory of root is containerd's, a user's is the user's own", () => {
  const before = process.env["XDG_RUNTIME_DIR"];
  try {
    process.env["XDG_RUNTIME_DIR"] = "/run/user/1000";
    expect(defaultSocketDirectory(0)).toBe("/run/containerd/s");
    expect(defaultSocketDirectory(1000)).toBe("/run/user/1000/containerd/s");
    process.env["XDG_RUNTIME_DIR"] = "";
    expect(defaultSocketDirectory(1000)).toBe("/run/1000/containerd/s");
  } finally {
    if (before === undefined) delete process.env["XDG_RUNTIME_DIR"];
    else process.env["XDG_RUNTIME_DIR"] = before;
  }
});

test.each([
  ["unix:///run/s/x", "/run/s/x"],
  ["unix://relative", undefined],
  ["/run/s/x", undefined],
  ["vsock://2:1024", undefined],
  ["", undefined],
])("SK-4 the path in %j", (address, path) => {
  expect(pathOf(address)).toBe(path);
});

describe("SK-2 somebody listens", () => {
  test("when somebody listens", async () => {
    const path = join(dir, "live");
    const server = Bun.listen({ unix: path, socket: { data() {} } });
    try {
      expect(hasListener(path)).toBe(true);
    } finally {
      server.stop(true);
    }
  });

  test("also when its queue of connections is full", async () => {
    const path = join(dir, "full");
    const python = Bun.spawn(
      [
        "/usr/bin/python3",
        "-c",
        `import socket,sys
s=socket.socket(socket.AF_UNIX); s.bind(${JSON.stringify(path)}); s.listen(0)
held=[]
while True:
  c=socket.socket(socket.AF_UNIX); c.setblocking(False)
  try: c.connect(${JSON.stringify(path)})
  except BlockingIOError: break
  held.append(c)
print("full", flush=True); sys.stdin.read()`,
      ],
      { stdin: "pipe", stdout: "pipe" },
    );
    await python.stdout.getReader().read();
    expect(hasListener(path)).toBe(true);
    python.kill();
    await python.exited;
    expect(hasListener(path)).toBe(false);
  });

  test.each(["missing", "no-directory/x"])("not when it is not there: %s", async (name) => {
    expect(hasListener(join(dir, name))).toBe(false);
  });

  test("not when it is a dead one, a file, or a path too long for a socket", async () => {
    const dead = join(dir, "dead");
    const made = Bun.spawnSync([
      "/usr/bin/python3",
      "-c",
      `import socket; socket.socket(socket.AF_UNIX).bind("${dead}")`,
    ]);
    expect(made.exitCode).toBe(0);
    expect(hasListener(dead)).toBe(false);
    writeFileSync(join(dir, "file"), "");
    expect(hasListener(join(dir, "file"))).toBe(false);
    expect(hasListener(join(dir, "x".repeat(120)))).toBe(false);
  });
});
