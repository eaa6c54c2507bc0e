/** berthd as a process: its flags, locks, signals, sockets, metrics and checks. */

import { afterEach, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { builtBerthd, canConnect } from "../lib/berthd.ts";
import { type Result, run } from "../lib/command.ts";
import { imageName, writeImageArchive } from "../lib/image.ts";
import { dist, whyNoContainers } from "../lib/paths.ts";
import { isAlive } from "../lib/process.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { makeRootfs } from "../lib/spec.ts";
import { waitFor } from "../lib/wait.ts";

const impossible = whyNoContainers();
const berth = join(dist, "berth");
let count = 0;

/** One daemon and its places. */
class Place {
  readonly dir = join(processScope().dir, `daemon${++count}`);
  readonly root = join(this.dir, "root");
  readonly state = join(this.dir, "state");
  readonly address = join(this.dir, "b.sock");
  readonly log = join(this.dir, "log");
  child: Bun.Subprocess | undefined;

  constructor() {
    mkdirSync(this.dir, { recursive: true });
    places.push(this);
  }

  get flags(): string[] {
    return ["--root", this.root, "--state", this.state, "--address", this.address];
  }

  async start(flags: readonly string[] = [], env: Record<string, string> = {}): Promise<Bun.Subprocess> {
    const child = Bun.spawn([builtBerthd, ...this.flags, ...flags], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: Bun.file(this.log),
      env: { ...process.env, ...env },
      cwd: "/",
    });
    this.child = child;
    await waitFor("berthd to listen", () => {
      if (child.exitCode !== null) throw new Error(readFileSync(this.log, "utf8"));
      return canConnect(this.address);
    });
    return child;
  }

  ctr(...args: string[]): Promise<Result> {
    return run(["ctr", "-a", this.address, ...args]);
  }

  check(...args: string[]): Promise<Result> {
    return run([berth, "check", "--root", this.root, "--state", this.state, ...args]);
  }

  get(path: string): Promise<Response> {
    return fetch(`http://berthd${path}`, { unix: join(this.state, "debug.sock") });
  }

  logged(text: string): Promise<true> {
    return waitFor(`the log to say ${text}`, () => readFileSync(this.log, "utf8").includes(text));
  }

  async end(): Promise<void> {
    this.child?.kill();
    await this.child?.exited;
    rmSync(this.dir, { recursive: true, force: true });
  }
}

const places: Place[] = [];
afterEach(async () => {
  for (const place of places.splice(0)) await place.end();
});

testUnless(
  impossible,
  "its socket is for root and the group of the configuration; a stale one is replaced",
  async () => {
    const place = new Place();
    const config = join(place.dir, "config.toml");
    writeFileSync(config, "[grpc]\ngid = 12\n[debug]\nlevel = 'warn'\n");
    const child = await place.start(["--config", config]);
    // It is root's alone from the moment when it is there, and the group's a moment later.
    const seen: { mode: number; uid: number; gid: number }[] = [];
    await waitFor("the group's socket", () => {
      const { mode, uid, gid } = statSync(place.address);
      seen.push({ mode, uid, gid });
      return (mode & 0o777) === 0o660 && gid === 12;
    });
    expect(seen.filter(({ mode, uid, gid }) => uid !== 0 || (gid !== 12 && (mode & 0o022) !== 0))).toEqual([]);
    expect(statSync(`${place.address}.ttrpc`).mode & 0o777).toBe(0o660);
    expect(statSync(join(place.state, "debug.sock")).mode & 0o777).toBe(0o600);
    expect(statSync(join(place.root, "berth.db")).mode & 0o777).toBe(0o600);
    expect(readFileSync(place.log, "utf8")).not.toContain("level=info");
    child.kill("SIGKILL");
    await child.exited;
    expect(statSync(place.address).isSocket()).toBe(true);
    await place.start(["--config", config]);
    expect((await place.ctr("version")).exitCode).toBe(0);
  },
);

testUnless(impossible, "the second daemon on a root, a state or a socket is refused in one sentence", async () => {
  const place = new Place();
  const { pid } = await place.start();
  const second = (flags: string[]): Promise<Result> => run([builtBerthd, ...flags]);
  const other = new Place();
  const whose = `another berthd (pid ${pid}) is using`;
  expect((await second(place.flags)).stderr).toBe(
    `berthd: ${whose} ${place.root}: stop it first, or choose another --root\n`,
  );
  const sameState = await second(["--root", other.root, "--state", place.state, "--address", other.address]);
  expect(sameState.stderr).toBe(`berthd: ${whose} ${place.state}: stop it first, or choose another --state\n`);
  const sameSocket = await second(["--root", other.root, "--state", other.state, "--address", place.address]);
  expect(sameSocket.stderr).toContain(`somebody listens at ${place.address} already`);
  expect([sameState.exitCode, sameSocket.exitCode]).toEqual([1, 1]);
  expect((await place.ctr("version")).exitCode).toBe(0);
});

testUnless(impossible, "what is wrong in a configuration is said, and nothing is started", async () => {
  const place = new Place();
  const config = join(place.dir, "config.toml");
  writeFileSync(config, "[grpc]\nadress = '/x'\n");
  const { exitCode, stderr } = await run([builtBerthd, ...place.flags], {
    env: { ...process.env, BERTH_CONFIG: config },
  });
  expect(exitCode).toBe(1);
  expect(stderr).toStartWith(`berthd: ${config}: unknown key grpc.adress at line 2: did you mean grpc.address?\n`);
  expect(readdirSync(place.dir)).toEqual(["config.toml"]);
  const example = await run([builtBerthd, "config", "default"], { check: true });
  writeFileSync(config, example.stdout);
  await place.start(["--config", config]);
});

testUnless(impossible, "SIGHUP reads the level anew, SIGUSR1 tells the state, SIGTERM ends with status 0", async () => {
  const place = new Place();
  const config = join(place.dir, "config.toml");
  writeFileSync(config, "");
  const child = await place.start(["--config", config]);
  child.kill("SIGUSR1");
  await place.logged('msg="state" state="{\\"pid\\":');
  writeFileSync(config, "[debug]\nlevel = 'error'\n[gc]\nnonsense = 1\n");
  child.kill("SIGHUP");
  await place.logged("nothing has changed");
  writeFileSync(config, "[debug]\nlevel = 'debug'\n");
  child.kill("SIGHUP");
  await place.logged("level=debug");
  child.kill("SIGTERM");
  expect(await child.exited).toBe(0);
  await place.logged("signal=SIGTERM");
  expect(readdirSync(place.dir).filter((name) => name.includes("sock"))).toEqual([]);
});

testUnless(impossible, "nothing is on TCP unless it is configured; then metrics are, and nothing else", async () => {
  const place = new Place();
  const config = join(place.dir, "config.toml");
  const port = 20_000 + (process.pid % 20_000);
  writeFileSync(config, `[metrics]\naddress = "127.0.0.1:${port}"\n`);
  const { pid } = await place.start(["--config", config]);
  const response = await fetch(`http://127.0.0.1:${port}/v1/metrics`);
  expect(response.headers.get("content-type")).toContain("text/plain; version=0.0.4");
  expect(await response.text()).toContain("# TYPE grpc_server_handled_total counter\n");
  expect((await fetch(`http://127.0.0.1:${port}/debug/state`)).status).toBe(404);
  expect((await fetch(`http://127.0.0.1:${port}/v1/metrics`, { method: "POST" })).status).toBe(405);
  expect(await listeners(pid)).toBe(1);
  await place.end();
  const quiet = new Place();
  expect(await listeners((await quiet.start()).pid)).toBe(0);
});

/** Sockets of TCP that a process listens on. */
async function listeners(pid: number): Promise<number> {
  const inodes = readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return (
        /^socket:\[(\d+)\]$/.exec(String(Bun.spawnSync(["readlink", `/proc/${pid}/fd/${fd}`]).stdout).trim())?.[1] ?? []
      );
    } catch {
      return [];
    }
  });
  const tables = ["tcp", "tcp6"].map((name) => readFileSync(`/proc/${pid}/net/${name}`, "utf8")).join("\n");
  const listening = tables
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === "0A");
  return listening.filter((fields) => inodes.includes(fields[9] ?? "")).length;
}

testUnless(
  impossible,
  "a container outlives it, is measured, and check agrees with what there is",
  async () => {
    const place = new Place();
    let child = await place.start();
    const rootfs = makeRootfs(join(place.dir, "rootfs"));
    const archive = writeImageArchive(join(place.dir, "image.tar"));
    expect((await place.ctr("images", "import", archive)).stderr).toBe("");
    const started = await place.ctr("run", "-d", "--rootfs", rootfs, "c1", "/bin/sleep", "1000");
    expect(started.stderr).toBe("");
    const containerPid = Number(/^c1\s+(\d+)\s+RUNNING/m.exec((await place.ctr("tasks", "ls")).stdout)?.[1]);
    const metrics = await (await place.get("/v1/metrics")).text();
    expect(metrics).toMatch(
      /^container_pids_current\{container_id="c1",namespace="default",runtime="io.containerd.runc.v2"\} 1$/m,
    );
    expect(metrics).toMatch(/^berth_shim_resident_memory_bytes\{container_id="c1",namespace="default"\} \d{7,}$/m);
    expect((await place.check("--verify")).stdout).toMatch(/^1 images, \d+ blobs, .* 1 containers: nothing wrong/);

    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
    expect(isAlive(containerPid)).toBe(true);
    expect((await place.check("--verify")).stdout).toContain("nothing wrong");
    child = await place.start();
    child.kill("SIGKILL");
    await child.exited;
    expect((await place.check()).stdout).toContain("nothing wrong");
    await place.start();
    expect((await place.ctr("tasks", "ls")).stdout).toMatch(new RegExp(`^c1\\s+${containerPid}\\s+RUNNING`, "m"));

    const digest = /sha256:\w+/.exec((await place.ctr("images", "ls", `name==${imageName}`)).stdout)?.[0] ?? "";
    unlinkSync(join(place.root, "io.containerd.content.v1.content/blobs/sha256", digest.slice("sha256:".length)));
    const found = await place.check();
    expect(found.stdout).toContain(`error: content default/${digest}: its file `);
    expect(found.exitCode).toBe(1);

    expect((await place.ctr("tasks", "rm", "-f", "c1")).stderr).not.toContain("not found");
    expect((await place.ctr("containers", "rm", "c1")).stderr).toBe("");
    expect(isAlive(containerPid)).toBe(false);
  },
  60_000,
);

test("check without a daemon's root says so, with a status of its own", async () => {
  const { exitCode, stderr } = await run([berth, "check", "--root", "/nowhere/berth"]);
  expect([exitCode, stderr]).toEqual([
    2,
    "berth check: there is no database /nowhere/berth/berth.db: no daemon has run with this root\n",
  ]);
});
