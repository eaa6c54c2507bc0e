/** berth's verbs of containers on berthd, as a person uses them. */

import { expect } from "bun:test";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Berthd } from "../lib/berthd.ts";
import { Cli } from "../lib/cli.ts";
import type { Daemon } from "../lib/daemon.ts";
import { imageName } from "../lib/image.ts";
import { containerSuite } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite({}, (dir, namespace, options) => new Berthd(dir, namespace, options));
/** Networks have tests of their own. */
const alone = ["--network", "none"];

/** Names of what there is of a kind that a container leaves. */
async function leftovers(daemon: Daemon): Promise<string[]> {
  const list = (path: string): string[] => (existsSync(path) ? readdirSync(path) : []);
  const { stdout } = await daemon.ctr(["snapshots", "--snapshotter", daemon.snapshotter, "list"], { check: true });
  return [
    ...stdout.split("\n").filter((line) => line.includes("Active")),
    ...list(join(daemon.root, "logs", daemon.namespace)),
    ...list(join(daemon.root, "network/containers", daemon.namespace)),
    ...list(join(daemon.root, "volumes", daemon.namespace)),
    ...list(daemon.fifoDir),
  ];
}

suite.test(
  "run prints what the container prints, has its exit status, and --rm leaves nothing",
  async ({ daemon, id }) => {
    const cli = new Cli(daemon);
    const script = "echo out; echo err >&2; exit 7";
    const result = await cli.run(["run", "--rm", ...alone, "--name", id(), imageName, "sh", "-c", script]);
    expect([result.stdout, result.stderr, result.exitCode]).toEqual(["out\n", "err\n", 7]);
    expect(await cli.must("ps", "-aq")).toBe("");
    expect(await leftovers(daemon)).toEqual([]);
  },
);

suite.test(
  "R17: nothing of the output of short-lived containers is lost",
  async ({ daemon, id }) => {
    const cli = new Cli(daemon);
    for (let n = 0; n < 6; n++) {
      const { stdout, exitCode } = await cli.run(["run", "--rm", ...alone, "--name", id(), imageName, "echo", `${n}`]);
      expect([stdout, exitCode]).toEqual([`${n}\n`, 0]);
    }
    // More than all pipes on the way hold, from a process that is gone at once.
    const line = [
      "run",
      "--rm",
      ...alone,
      "--name",
      id(),
      imageName,
      "sh",
      "-c",
      "yes 0123456789abcde | head -n 200000",
    ];
    const { stdout } = await cli.run(line);
    expect(stdout.length).toBe(200_000 * 16);
  },
  { timeout: 120_000 },
);

suite.test("what is typed goes in, and its end, too", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const line = ["run", "--rm", "-i", ...alone, "--name", id(), imageName, "cat"];
  const { stdout, exitCode } = await cli.run(line, { stdin: "a line\n".repeat(50_000) });
  expect([stdout.length, exitCode]).toEqual([350_000, 0]);
});

suite.test("exit statuses are docker's, and what cannot run leaves nothing", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const status = async (...args: string[]): Promise<number> =>
    (await cli.run(["run", "--rm", ...alone, "--name", id(), ...args])).exitCode;
  expect(await status(imageName, "nosuch")).toBe(127);
  expect(await status(imageName, "/etc")).toBe(126);
  expect(await status("-u", "nobody", imageName, "true")).toBe(125);
  expect(await status("--pull", "never", "localhost/nosuch:1", "true")).toBe(125);
  expect(await status("--nosuch", imageName, "true")).toBe(125);
  expect(await status("-v", "vol:/v", "--cap-add", "nosuch", imageName, "true")).toBe(125);
  expect((await leftovers(daemon)).filter((name) => name !== "vol")).toEqual([]);
  expect((await cli.run(["stop", "nosuch"])).exitCode).toBe(1);
  expect((await cli.run(["nosuch"])).exitCode).toBe(1);
  await cli.run(["volume", "rm", "vol"]);
});

suite.test("options arrive in the container", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const file = join(daemon.dir, "env");
  writeFileSync(file, "# comment\nFROM_FILE=1\n");
  const script =
    "id -u; id -g; pwd; hostname; echo $A$FROM_FILE; cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || " +
    "cat /sys/fs/cgroup/memory.max; touch /x 2>/dev/null || echo ro; touch /t/x && echo rw; grep CapEff /proc/self/status; " +
    "ulimit -n; mount 2>&1 >/dev/null -t tmpfs none /mnt | head -n 1 | grep -o denied; grep NoNewPrivs /proc/self/status";
  const flags = [
    "-u",
    "user",
    "-w",
    "/tmp",
    "-h",
    "box",
    "-e",
    "A=b c",
    "--env-file",
    file,
    "-m",
    "64m",
    "--read-only",
  ];
  const more = ["--tmpfs", "/t:mode=1777", "--cap-drop", "ALL", "--ulimit", "nofile=100:200"];
  const rights = ["--security-opt", "no-new-privileges"];
  const line = ["run", "--rm", ...alone, "--name", id(), ...flags, ...more, ...rights, imageName, "sh", "-c", script];
  const { stdout } = await cli.run(line, { check: true });
  expect(stdout.trim().split("\n").slice(0, 10)).toEqual([
    "1000",
    "1000",
    "/tmp",
    "box",
    "b c1",
    String(64 << 20),
    "ro",
    "rw",
    "CapEff:\t0000000000000000",
    "100",
  ]);
  expect(stdout).toContain("NoNewPrivs:\t1");
});

suite.test(
  "a volume begins with what the image has at its place, and keeps what is written",
  async ({ daemon, id }) => {
    const cli = new Cli(daemon);
    const run = (name: string, ...args: string[]): Promise<string> =>
      cli.must("run", "--rm", ...alone, "--name", name, ...args);
    expect(
      await run(id(), "-v", "conf:/etc", imageName, "sh", "-c", "cat /etc/group; echo mine > /etc/mine"),
    ).toContain("user:x");
    expect(await run(id(), "-v", "conf:/conf:ro", imageName, "sh", "-c", "cat /conf/mine; touch /conf/x || true")).toBe(
      "mine",
    );
    const own = id();
    await cli.must("create", "--name", own, ...alone, "-v", "/data", "-v", "conf:/conf", imageName, "true");
    expect((await cli.run(["volume", "rm", "conf"])).stderr).toContain(`used by container ${own}`);
    expect(JSON.parse(await cli.must("inspect", own))[0].Mounts).toHaveLength(2);
    await cli.must("rm", "-v", own);
    expect(await cli.must("volume", "ls", "-q")).toBe("conf");
    expect(
      (await cli.run(["run", ...alone, "--name", id(), "--mount", "type=bind,src=/nosuch,dst=/x", imageName, "true"]))
        .stderr,
    ).toContain("there is no /nosuch");
    await cli.must("volume", "prune", "--all", "--force");
    expect(await leftovers(daemon)).toEqual([]);
  },
);

suite.test("a container in the background is listed, entered, held, changed and ended", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  const script = "trap 'exit 5' TERM; while true; do sleep 0.1; done";
  expect(await cli.must("run", "-d", ...alone, "--name", name, "-l", "a=b", imageName, "sh", "-c", script)).toBe(name);
  expect(await cli.must("ps", "--format", "{{.Names}} {{.State}}")).toBe(`${name} running`);
  expect(await cli.must("ps", "-q", "--filter", "label=a=c")).toBe("");
  const exec = await cli.run(
    ["exec", "-i", "-e", "B=2", "-u", "1000", name, "sh", "-c", "cat; id -u; echo $B; exit 3"],
    {
      stdin: "in\n",
    },
  );
  expect([exec.stdout, exec.exitCode]).toEqual(["in\n1000\n2\n", 3]);
  const missing = await cli.run(["exec", name, "nosuch"]);
  expect(missing.exitCode).toBe(127);
  // Once: runc says it on the stream of the process, and in its answer.
  expect(missing.stderr.match(/executable file not found/g)).toHaveLength(1);
  // More than is held until the start is known.
  const much = await cli.run(["exec", name, "sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3"]);
  expect([much.exitCode, much.stderr.length]).toEqual([3, 1_000_000]);
  await cli.must("pause", name);
  expect(await cli.must("ps", "--format", "{{.Status}}")).toContain("(Paused)");
  await cli.must("unpause", name);
  await cli.must("update", "--memory", "32m", name);
  const [state] = JSON.parse(await cli.must("inspect", name));
  expect(state.HostConfig.Memory).toBe(32 << 20);
  expect(state.State.Status).toBe("running");
  expect((await cli.run(["rm", name])).stderr).toContain(`berth stop ${name}`);
  const waiting = cli.must("wait", name);
  await cli.must("stop", name);
  expect(await waiting).toBe("5");
  expect(await cli.must("ps", "-a", "--format", "{{.Status}}")).toContain("Exited (5)");
  expect(await cli.must("wait", name)).toBe("5");
  await cli.must("rm", name);
  expect(await leftovers(daemon)).toEqual([]);
});

suite.test(
  "one that is stopped stays so, whatever its restart policy says, until it is started",
  async ({ daemon, id }) => {
    const cli = new Cli(daemon);
    const name = id();
    const run = ["run", "-d", ...alone, "--restart", "always", "--name", name, imageName, "sleep", "1000"];
    await cli.run(run, { check: true });
    const status = () => cli.must("inspect", "--format", "{{.State.Status}}", name);
    const pid = () => cli.must("inspect", "--format", "{{.State.Pid}}", name);
    const first = await pid();
    await cli.must("exec", name, "kill", "-9", "1").catch(() => undefined);
    await daemon.ctr(["tasks", "kill", "-s", "SIGKILL", name]);
    await waitFor("the restart", async () => (await status()) === "running" && (await pid()) !== first);
    await cli.must("stop", "-t", "0", name);
    const { stdout } = await daemon.ctr(["containers", "info", name], { check: true });
    expect(JSON.parse(stdout).Labels["containerd.io/restart.status"]).toBe("stopped");
    // Longer than the monitor's shortest wait after an end.
    await Bun.sleep(500);
    expect(await status()).toBe("exited");
    await cli.must("start", name);
    expect(await status()).toBe("running");
    await cli.must("rm", "-f", name);
  },
);

suite.test("signals to berth run go to the container", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const script = "trap 'echo got it; exit 9' TERM; echo ready; while true; do sleep 0.1; done";
  const child = cli.spawn(["run", "--rm", ...alone, "--name", id(), imageName, "sh", "-c", script]);
  const decoder = new TextDecoder();
  let text = "";
  const reading = (async () => {
    for await (const chunk of child.stdout) text += decoder.decode(chunk);
  })();
  await waitFor("the container to be ready", () => text.includes("ready"));
  child.kill("SIGTERM");
  expect(await child.exited).toBe(9);
  await reading;
  expect(text).toBe("ready\ngot it\n");
});

suite.test(
  "attach to what was run with -d: its output from then on, signals, and its exit status",
  async ({ daemon, id }) => {
    const cli = new Cli(daemon);
    const name = id();
    const script = "trap 'echo bye; echo gone >&2; exit 7' TERM; echo before; while :; do sleep 0.1; echo line; done";
    await cli.must("run", "-d", ...alone, "--name", name, imageName, "sh", "-c", script);
    await waitFor("the first lines", async () => (await cli.must("logs", name)).includes("line"));
    const child = cli.spawn(["attach", name]);
    const text = { out: "", err: "" };
    const read = async (stream: ReadableStream<Uint8Array>, key: "out" | "err") => {
      const decoder = new TextDecoder();
      for await (const chunk of stream) text[key] += decoder.decode(chunk);
    };
    const reading = Promise.all([read(child.stdout, "out"), read(child.stderr, "err")]);
    await waitFor("a line", () => text.out.includes("line\nline\n"));
    child.kill("SIGTERM");
    expect(await child.exited).toBe(7);
    await reading;
    expect(text.out).toMatch(/^(line\n)+bye\n$/);
    expect(text.err).toBe("gone\n");
    const ended = await cli.run(["attach", name]);
    expect([ended.exitCode, ended.stderr]).toEqual([1, expect.stringContaining("does not run")]);
    const mute = id();
    await cli.must("run", "-d", ...alone, "--log-driver", "none", "--name", mute, imageName, "sleep", "1000");
    const refused = await cli.run(["attach", mute]);
    expect([refused.exitCode, refused.stderr]).toEqual([1, expect.stringContaining("goes to nowhere")]);
    // A person is told why nothing can be typed; Ctrl-C is a signal to the container, and --sig-proxy=false keeps it here.
    const third = id();
    await cli.must(
      "run",
      "-d",
      ...alone,
      "--name",
      third,
      imageName,
      "sh",
      "-c",
      "while :; do echo tick; sleep 0.1; done",
    );
    const screen = cli.screen(["attach", "--sig-proxy=false", third]);
    await screen.type("", /berth exec -it[\s\S]*tick/);
    await screen.type("\x03");
    expect(await screen.exited).not.toBe(0);
    expect(await cli.must("ps", "-q")).toContain(third);
    await cli.must("rm", "-f", name, mute, third);
  },
);

suite.test(
  "of several containers of one name that are run at once one runs, and nothing of it is taken",
  async ({ daemon, id }) => {
    const cli = new Cli(daemon);
    const name = id();
    for (let round = 0; round < 3; round++) {
      const results = await Promise.all(
        Array.from({ length: 4 }, () => cli.run(["run", "-d", ...alone, "--name", name, imageName, "sleep", "1000"])),
      );
      const failed = results.filter(({ exitCode }) => exitCode !== 0);
      const told = failed.map(({ exitCode, stderr }) => [exitCode, /taken|exists|already/.test(stderr) ? "" : stderr]);
      expect(told).toEqual(Array.from({ length: 3 }, () => [125, ""]));
      expect(await cli.must("exec", name, "cat", "/etc/hosts", "/etc/hostname")).toContain(name);
      expect(await cli.must("inspect", "--format", "{{.State.Status}}", name)).toBe("running");
      expect(existsSync(dirname(await cli.must("inspect", "--format", "{{.LogPath}}", name)))).toBe(true);
      // The name is free at once, whatever of the last one is still being taken away.
      await cli.must("rm", "-f", name);
    }
    expect(await leftovers(daemon)).toEqual([]);
  },
);

suite.test(
  "R25: a container whose network files a power cut has taken starts with new ones",
  async ({ daemon, id }) => {
    const cli = new Cli(daemon);
    const name = id();
    await cli.must("create", ...alone, "--name", name, imageName, "cat", "/etc/hosts");
    rmSync(join(daemon.root, "network/containers", daemon.namespace, name), { recursive: true });
    expect(await cli.must("start", "-a", name)).toContain(name);
    await cli.must("rm", name);
  },
);

suite.test("on a terminal: a size, keys that leave it, and a way back", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  const line = ["run", "-it", "--rm", ...alone, "--name", name, imageName, "sh"];
  const screen = cli.screen(line, { rows: 30, cols: 100 });
  await screen.type("", /# /);
  await screen.repeat("stty size\r", /30 100/);
  screen.resize(40, 120);
  await screen.repeat("stty size\r", /40 120/);
  await screen.type("\x10\x11", new RegExp(`berth attach ${name}`));
  expect(await screen.exited).toBe(0);
  const again = cli.screen(["attach", name]);
  await again.repeat("echo b''ack\r", /back/);
  await again.type("exit 4\r");
  expect(await again.exited).toBe(4);
  await waitFor("the container to be removed", async () => (await cli.must("ps", "-aq")) === "");
  expect(await leftovers(daemon)).toEqual([]);
});

suite.test("exec -it is a terminal, too", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  await cli.must("run", "-d", ...alone, "--name", name, imageName, "sleep", "1000");
  const screen = cli.screen(["exec", "-it", name, "sh"]);
  await screen.type("", /# /);
  await screen.repeat("tty\r", /\/dev\/pts\/\d/);
  await screen.type("exit 6\r");
  expect(await screen.exited).toBe(6);
  await cli.must("rm", "-f", name);
});

suite.test("the log of a container is where it says", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  await cli.must("run", "-d", ...alone, "--log-driver", "raw", "--name", name, imageName, "echo", "logged");
  await cli.must("wait", name);
  const path = await cli.must("inspect", "--format", "{{.LogPath}}", name);
  expect(path).toBe(join(daemon.root, "logs", daemon.namespace, name, `${name}.log`));
  await waitFor("the log", () => readFileSync(path, "utf8") === "logged\n");
  await cli.must("rm", name);
  expect(existsSync(path)).toBe(false);
});

suite.test("a log has times and streams", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  await cli.must("run", "-d", ...alone, "--name", name, imageName, "sh", "-c", "echo out; echo err >&2; printf part");
  await cli.must("wait", name);
  const { stdout, stderr } = await cli.run(["logs", "-f", name], { check: true });
  expect([stdout, stderr]).toEqual(["out\npart", "err\n"]);
  expect(await cli.must("logs", "-t", "--tail", "3", name)).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z out$/m);
  expect(await cli.must("logs", "--since", "1h", name)).toBe("out\npart");
  expect(await cli.must("logs", "--until", "1h", name)).toBe("");
  await cli.must("rm", name);
});

suite.test("a terminal in the background has a log, too", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  const script = "test -t 1 && echo on a terminal; echo and stderr >&2";
  await cli.must("run", "-dt", ...alone, "--name", name, imageName, "sh", "-c", script);
  expect(await cli.must("wait", name)).toBe("0");
  expect(await cli.must("logs", "-f", name)).toBe("on a terminal\r\nand stderr");
  await cli.must("rm", name);
});

suite.test("R28: logs -f goes on over restarts, and ends with the last of them", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  const script = "echo begin; echo wrong >&2; sleep 0.2; exit 1";
  const flags = ["--log-driver", "raw", "--restart", "on-failure:2", "--name", name];
  await cli.must("run", "-d", ...alone, ...flags, imageName, "sh", "-c", script);
  const { stdout, exitCode } = await cli.run(["logs", "-f", name]);
  expect([stdout.match(/begin/g)?.length, stdout.match(/wrong/g)?.length, exitCode]).toEqual([3, 3, 0]);
  expect((await cli.must("logs", "--tail", "2", name)).split("\n")).toHaveLength(2);
  await cli.must("rm", "-f", name);
  expect((await cli.run(["logs", name])).exitCode).toBe(1);
});
