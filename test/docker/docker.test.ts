/** Debian's dockerd on berthd: what people do with docker. BERTH_TEST_DAEMON=containerd runs the same on containerd. */

import { afterAll, beforeAll, expect } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { names, writeArchives } from "../ctr/archives.ts";
import { Berthd } from "../lib/berthd.ts";
import { Daemon } from "../lib/daemon.ts";
import { Dockerd, findDocker } from "../lib/docker.ts";
import { expectNoLeak, inventory } from "../lib/leak.ts";
import { whyNoContainers } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { waitFor } from "../lib/wait.ts";

const bin = whyNoContainers() ?? (await findDocker());
const impossible =
  typeof bin === "string" && !bin.startsWith("/") ? bin : bin instanceof Error ? bin.message : undefined;
const image = names.docker;
const scope = processScope();
const token = `${scope.token}-d`;
const Chosen = process.env["BERTH_TEST_DAEMON"] === "containerd" ? Daemon : Berthd;

let daemon: Daemon;
let docker: Dockerd;

if (impossible === undefined) {
  beforeAll(async () => {
    daemon = new Chosen(join(scope.dir, "c"), token, { debug: true });
    await daemon.start();
    docker = new Dockerd(daemon, bin as string, join(scope.dir, "d"), token);
    await docker.start();
  }, 90_000);
  afterAll(async () => {
    await docker?.stop();
    await daemon?.stop();
    const mine = new Set([...inventory(scope)].filter((item) => item.startsWith("descriptor")));
    // dockerd leaves the directory of its cgroup parent and its mounts of namespaces to whoever ends it.
    const look = (): Set<string> =>
      new Set(
        [...inventory(scope)].filter((item) => item.startsWith("process") || /mount .*(rootfs|merged)/.test(item)),
      );
    await expectNoLeak(mine, look, 10_000);
  }, 60_000);
}

let made = 0;

/** A test of docker, with the logs when it fails. */
function check(name: string, body: (id: string) => Promise<void>, timeout = 60_000): void {
  testUnless(
    impossible,
    name,
    async () => {
      const id = `t${++made}`;
      const [before, own] = [docker.log().length, daemon.log().length];
      try {
        await body(id);
      } catch (error) {
        console.error(`---- dockerd\n${docker.log().slice(before).split("\n").slice(-40).join("\n")}`);
        console.error(`---- daemon\n${daemon.log().slice(own).split("\n").slice(-40).join("\n")}`);
        throw error;
      } finally {
        await docker.docker(["rm", "-f", id]);
      }
    },
    timeout,
  );
}

check("load: an image of docker save is there", async () => {
  const dir = join(scope.dir, "archives");
  mkdirSync(dir);
  const archives = writeArchives(dir);
  expect(await docker.ask(["load", "--input", archives.docker])).toContain(image);
  expect(await docker.ask(["images", "--format", "{{.Repository}}:{{.Tag}}"])).toBe(image);
});

check("run --rm: output, errors and the exit status", async (id) => {
  const result = await docker.docker([
    "run",
    "--rm",
    "--name",
    id,
    image,
    "sh",
    "-c",
    "echo out; echo err >&2; exit 42",
  ]);
  expect(result).toMatchObject({ exitCode: 42, stdout: "out\n", stderr: "err\n" });
  const missing = await docker.docker(["run", "--rm", image, "no-such-command"]);
  expect(missing.exitCode).toBe(127);
  expect(missing.stderr).toContain("no-such-command");
});

check("run -i: what goes in comes out", async (id) => {
  const result = await docker.docker(["run", "--rm", "-i", "--name", id, image, "cat"], { stdin: "through cat\n" });
  expect(result).toMatchObject({ exitCode: 0, stdout: "through cat\n" });
});

check("run -t: a terminal", async (id) => {
  const result = await docker.docker(["run", "--rm", "-t", "--name", id, image, "sh", "-c", "tty; stty size"]);
  expect(result.exitCode).toBe(0);
  expect(result.stdout).toContain("/dev/pts/0");
});

check("run -d, ps, logs, top, exec, kill, wait, rm", async (id) => {
  const script = "trap 'exit 7' TERM; echo started; while :; do sleep 0.1; done";
  await docker.ask(["run", "-d", "--name", id, image, "sh", "-c", script]);
  expect(await docker.ask(["ps", "--filter", `name=${id}`, "--format", "{{.Names}} {{.Status}}"])).toMatch(`${id} Up`);
  await waitFor("the log", async () => (await docker.ask(["logs", id])) === "started");
  expect(await docker.ask(["top", id])).toContain("sh -c trap");
  expect(await docker.docker(["exec", id, "sh", "-c", "echo in; exit 3"])).toMatchObject({
    exitCode: 3,
    stdout: "in\n",
  });
  expect(await docker.docker(["exec", "-i", id, "cat"], { stdin: "stdin\n" })).toMatchObject({
    exitCode: 0,
    stdout: "stdin\n",
  });
  expect((await docker.docker(["exec", "-t", id, "tty"])).stdout).toContain("/dev/pts");
  expect((await docker.docker(["exec", id, "no-such-command"])).exitCode).toBeGreaterThan(125);
  const waiting = docker.ask(["wait", id]);
  await Bun.sleep(300);
  await docker.ask(["kill", "--signal", "TERM", id]);
  expect(await waiting).toBe("7");
  expect(await docker.inspect(id, ".State.Status")).toBe("exited");
  expect(await docker.ask(["rm", id])).toBe(id);
});

check("stop and start again, restart", async (id) => {
  await docker.ask(["run", "-d", "--name", id, image, "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]);
  await docker.ask(["stop", "--time", "5", id]);
  expect(await docker.inspect(id, ".State.ExitCode")).toBe("0");
  await docker.ask(["start", id]);
  expect(await docker.inspect(id, ".State.Running")).toBe("true");
  await docker.ask(["restart", "--time", "5", id]);
  expect(await docker.inspect(id, ".State.Running")).toBe("true");
});

check("stats: numbers of the container", async (id) => {
  await docker.ask(["run", "-d", "--name", id, image, "sleep", "1000"]);
  const line = await docker.ask(["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsage}}", id]);
  expect(line).toMatch(new RegExp(`^${id} 1 [0-9.]+[KM]iB / `));
});

check("pause and unpause", async (id) => {
  await docker.ask(["run", "-d", "--name", id, image, "sleep", "1000"]);
  await docker.ask(["pause", id]);
  expect(await docker.inspect(id, ".State.Status")).toBe("paused");
  expect((await docker.docker(["exec", id, "true"])).exitCode).not.toBe(0);
  await docker.ask(["unpause", id]);
  expect((await docker.docker(["exec", id, "true"])).exitCode).toBe(0);
});

check("--restart on-failure:2 runs three times", async (id) => {
  await docker.ask(["run", "-d", "--name", id, "--restart", "on-failure:2", image, "sh", "-c", "echo run; exit 5"]);
  await waitFor("the last run", async () => (await docker.inspect(id, ".RestartCount")) === "2", { timeout: 20_000 });
  await waitFor("its end", async () => (await docker.inspect(id, ".State.Status")) === "exited");
  expect(await docker.ask(["logs", id])).toBe("run\nrun\nrun");
  expect(await docker.inspect(id, ".State.ExitCode")).toBe("5");
});

check("--restart always: back after it was killed", async (id) => {
  await docker.ask(["run", "-d", "--name", id, "--restart", "always", image, "sleep", "1000"]);
  const pid = Number(await docker.inspect(id, ".State.Pid"));
  process.kill(pid, "SIGKILL");
  await waitFor("a new process", async () => {
    const now = Number(await docker.inspect(id, ".State.Pid"));
    return now > 0 && now !== pid;
  });
});

check("-m: a container that takes too much is killed, and docker knows why", async (id) => {
  const eater = "x=a; while :; do x=$x$x; done";
  const flags = ["--memory", "16m", "--memory-swap", "16m"];
  const result = await docker.docker(["run", "--name", id, ...flags, image, "sh", "-c", eater]);
  expect(result.exitCode).toBe(137);
  expect(await docker.inspect(id, ".State.OOMKilled")).toBe("true");
});

check("--cpus: the limit is in the cgroup, and update changes it", async (id) => {
  await docker.ask(["run", "-d", "--name", id, "--cpus", "0.5", image, "sleep", "1000"]);
  const quota = async (): Promise<string> => {
    const read = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cat /sys/fs/cgroup/cpu.max";
    return (await docker.ask(["exec", id, "sh", "-c", read])).split(" ")[0] ?? "";
  };
  expect(await quota()).toBe("50000");
  await docker.ask(["update", "--cpus", "0.25", id]);
  expect(await quota()).toBe("25000");
});

check("the network is docker's: an address on its bridge, and containers reach each other", async (id) => {
  await docker.ask(["run", "-d", "--name", id, image, "sh", "-c", "while :; do echo hello | nc -l -p 80; done"]);
  const address = await docker.inspect(id, ".NetworkSettings.IPAddress");
  expect(address).toMatch(/^172\./);
  const answer = await waitFor("an answer", async () => {
    const asked = await docker.docker(["run", "--rm", image, "sh", "-c", `nc -w 2 ${address} 80 </dev/null`]);
    return asked.stdout;
  });
  expect(answer).toBe("hello\n");
});

check("commit, cp and diff", async (id) => {
  await docker.ask(["run", "--name", id, image, "sh", "-c", "echo changed > /changed"]);
  expect(await docker.ask(["diff", id])).toContain("A /changed");
  await docker.ask(["cp", `${id}:/changed`, join(scope.dir, "changed")]);
  expect(await Bun.file(join(scope.dir, "changed")).text()).toBe("changed\n");
  await docker.ask(["commit", id, "example.com/committed:1"]);
  expect(await docker.ask(["run", "--rm", "example.com/committed:1", "cat", "/changed"])).toBe("changed");
});

check("events: create, start, die and destroy in order", async (id) => {
  // A duration such as 0s would be cut to whole seconds, and what happened in this one left out.
  const now = async (): Promise<string> => (await docker.ask(["info", "--format", "{{.SystemTime}}"])).trim();
  const since = await now();
  await docker.ask(["run", "--rm", "--name", id, image, "true"]);
  await Bun.sleep(500);
  const format = ["--format", "{{.Action}}", "--filter", `container=${id}`, "--filter", "type=container"];
  const told = await docker.ask(["events", "--since", since, "--until", await now(), ...format]);
  expect(told.split("\n").filter((action) => /^(create|start|die|destroy)$/.test(action))).toEqual([
    "create",
    "start",
    "die",
    "destroy",
  ]);
});

check(
  "20 at once",
  async () => {
    const all = await Promise.all(
      Array.from({ length: 20 }, (_, at) => docker.docker(["run", "--rm", image, "echo", String(at)])),
    );
    expect(all.map((one) => one.stdout.trim())).toEqual(Array.from({ length: 20 }, (_, at) => String(at)));
  },
  120_000,
);

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  check(`${signal} to the daemon: docker's container runs on, and docker finds it again`, async (id) => {
    await docker.ask(["run", "-d", "--name", id, image, "sh", "-c", "read x < /gate || sleep 1000; exit 9"]);
    const pid = await docker.inspect(id, ".State.Pid");
    await daemon.restart(signal);
    await waitFor("an exec", async () => (await docker.docker(["exec", id, "true"])).exitCode === 0, {
      timeout: 30_000,
    });
    expect(await docker.inspect(id, ".State.Pid")).toBe(pid);
    await docker.ask(["kill", id]);
    await waitFor("the exit", async () => (await docker.inspect(id, ".State.Status")) === "exited");
    expect(await docker.inspect(id, ".State.ExitCode")).toBe("137");
  });
}

check("dockerd restarts: its container is found running", async (id) => {
  await docker.ask(["run", "-d", "--name", id, image, "sleep", "1000"]);
  await docker.stop("SIGKILL");
  await docker.start();
  expect(await docker.inspect(id, ".State.Running")).toBe("true");
  expect((await docker.docker(["exec", id, "echo", "still here"])).stdout).toBe("still here\n");
});
