import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lockDirectory } from "../../../../supervisor/host/lock.ts";
import { Notifier } from "../../../../supervisor/host/notify.ts";
import { clearSocket, restrictSocket } from "../../../../supervisor/host/socket.ts";
import { unitOf } from "../../../../supervisor/host/unit.ts";
import { silent } from "../../../../supervisor/log/log.ts";
import { outcome } from "../../../lib/outcome.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "berth-host-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe("lockDirectory", () => {
  test("the second is refused in one sentence; a released lock can be taken", () => {
    const lock = lockDirectory(directory, "--root");
    expect(() => lockDirectory(directory, "--root")).toThrow(
      `another berthd (pid ${process.pid}) is using ${directory}: stop it first, or choose another --root`,
    );
    lock.release();
    lockDirectory(directory, "--root").release();
  });

  test("the pid of a holder that was killed does not matter", () => {
    writeFileSync(join(directory, "berthd.lock"), "1\n");
    lockDirectory(directory, "--root").release();
  });

  test("a lock that a child of a killed holder still has for a moment is waited for", async () => {
    const path = join(directory, "berthd.lock");
    const gone = Bun.spawnSync(["true"]).pid;
    writeFileSync(path, `${gone}\n`);
    const child = Bun.spawn(["flock", path, "sh", "-c", "echo held; sleep 0.3"], { stdout: "pipe" });
    await child.stdout.getReader().read();
    const begun = performance.now();
    lockDirectory(directory, "--root").release();
    expect(performance.now() - begun).toBeWithin(100, 2_000);
    await child.exited;
  });
});

describe("clearSocket", () => {
  test("removes what nobody listens at, and refuses the rest", async () => {
    const path = join(directory, "deep", "x.sock");
    await clearSocket(path);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    restrictSocket(path, { uid: 0, gid: 0 });
    expect(statSync(path).mode & 0o777).toBe(0o660);
    expect(await outcome(clearSocket(path))).toThrow(`somebody listens at ${path} already`);
    await new Promise((resolve) => server.close(resolve));

    const dead = Bun.spawnSync([
      process.execPath,
      "-e",
      `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`,
    ]);
    expect(dead.signalCode).toBe("SIGKILL");
    expect(statSync(path).isSocket()).toBe(true);
    await clearSocket(path);
    expect(() => statSync(path)).toThrow();

    writeFileSync(path, "precious");
    expect(await outcome(clearSocket(path))).toThrow("is not a socket");
    expect(await outcome(clearSocket(`/tmp/${"x".repeat(120)}`))).toThrow("longer than 107 bytes");
  });
});

describe("Notifier", () => {
  test("tells systemd, and takes its variables away from children", async () => {
    const path = join(directory, "notify");
    const receiver = Bun.spawn(
      [
        "python3",
        "-c",
        "import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\ns.bind(sys.argv[1])\nprint('bound',flush=True)\nfor _ in range(5): print(s.recv(4096).decode(),flush=True)",
        path,
      ],
      { stdout: "pipe" },
    );
    const reader = receiver.stdout.getReader();
    await reader.read();
    const env: Record<string, string | undefined> = { NOTIFY_SOCKET: path, WATCHDOG_USEC: "200000", OTHER: "x" };
    const notifier = new Notifier(silent, env);
    expect(env).toEqual({ OTHER: "x" });
    notifier.ready();
    await Bun.sleep(250);
    notifier.stopping();
    notifier.status("done\nit is");
    notifier.status("over");
    let text = "";
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      text += new TextDecoder().decode(next.value);
    }
    expect(text.split("\n")).toEqual(expect.arrayContaining(["READY=1", "WATCHDOG=1", "STOPPING=1"]));
    receiver.kill();
    await receiver.exited;
  });

  test("without systemd it says nothing, and a socket that is gone is no error", () => {
    new Notifier(silent, {}).ready();
    const notifier = new Notifier(silent, { NOTIFY_SOCKET: join(directory, "nobody") });
    notifier.ready();
    notifier.stopping();
  });
});

describe("the unit", () => {
  test("leaves containers alone, and quotes what systemd would split or expand", () => {
    const text = unitOf("/usr/local/bin/berthd", "/etc/a b/100%$x.toml");
    expect(text).toContain('ExecStart=/usr/local/bin/berthd --config "/etc/a b/100%%$$x.toml"\n');
    for (const line of ["Type=notify", "KillMode=process", "Delegate=yes", "Restart=always"]) {
      expect(text).toContain(`\n${line}\n`);
    }
  });
});
