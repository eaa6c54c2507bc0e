/** The binary call `start` (contract 1.1, 1.2 and 1.6), made by ourselves as each version of containerd makes it. */

import { describe, expect } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { containerd, runtimeoptions } from "../../proto/gen/shim.js";
import { Client } from "../../proto/ttrpc/index.ts";
import { cgroupRoots } from "../lib/cgroup.ts";
import { isAlive } from "../lib/process.ts";
import { anyBytes, callBinary, pathOfAddress, shimSuite, socketDirectory, TaskClient, times } from "../lib/shim.ts";
import { waitFor } from "../lib/wait.ts";

const { BootstrapParams, BootstrapResult } = containerd.runtime.bootstrap.v1;
const { test } = shimSuite();
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const utf8 = (string: string): Uint8Array => new TextEncoder().encode(string);

/** A field of /proc/PID/stat after the name, by its number in proc(5). */
function statField(pid: number | "self", number: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[number - 3]);
}

describe("plain start", () => {
  test("ST-4 ST-5 SK-1 answers with the plain address, an empty stderr and status 0", async (rig) => {
    const bundle = await rig.bundle();
    const answer = await rig.callStart(bundle);
    expect(answer.stderr).toBe("");
    expect(answer.exitCode).toBe(0);
    expect(text(answer.stdout)).toBe(`unix://${rig.socketPath(bundle.id)}`);
    const shim = await rig.connect(bundle, text(answer.stdout));
    expect(statSync(shim.socket).mode & 0o777).toBe(0o600);
    expect(statSync("/run/containerd/s").mode & 0o077).toBe(0);
    expect(shim.socket.length).toBeLessThanOrEqual(106);
    expect((await shim.task.connect("nobody")).taskPid).toBe(0);
  });

  test("ST-11 leaves the address in the bundle, whole", async (rig) => {
    const shim = await rig.start(await rig.bundle());
    expect(readFileSync(join(shim.bundle.path, "address"), "utf8")).toBe(shim.address);
    expect(readdirSync(shim.bundle.path).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test("ST-10 PR-5 the serving process has a session of its own, and none of our streams", async (rig) => {
    const shim = await rig.start(await rig.bundle());
    expect(statField(shim.pid, 6)).toBe(shim.pid);
    expect(statField(shim.pid, 5)).toBe(shim.pid);
    for (const fd of [0, 1, 2]) expect(readlinkSync(`/proc/${shim.pid}/fd/${fd}`)).toBe("/dev/null");
  });

  test("ST-10 inherited descriptors are not held: a pipe, a file, a socket, numbers high and low", async (rig) => {
    const bundle = await rig.bundle();
    const held = join(rig.dir, "held");
    writeFileSync(held, "");
    const script = `exec 3<"${held}" 4>>"${held}" 7<"${held}" 9<"${held}"; exec "$@"`;
    const shim = await rig.start(bundle, { wrapper: ["/bin/sh", "-c", script, "sh"] });
    const open = readdirSync(`/proc/${shim.pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${shim.pid}/fd/${fd}`);
      } catch {
        return "";
      }
    });
    expect(open.filter((target) => target.includes("held"))).toEqual([]);
    expect(open.filter((target) => target.startsWith("pipe:"))).toEqual([]);
  });

  test("ST-9 the OOM score is the caller's plus one, and at most 1000", async (rig) => {
    const own = Number(readFileSync("/proc/self/oom_score_adj", "utf8"));
    const shim = await rig.start(await rig.bundle());
    expect(Number(readFileSync(`/proc/${shim.pid}/oom_score_adj`, "utf8"))).toBe(Math.min(1000, own + 1));
    const script = 'echo 1000 >/proc/self/oom_score_adj; exec "$@"';
    const last = await rig.start(await rig.bundle(), { wrapper: ["/bin/sh", "-c", script, "sh"] });
    expect(Number(readFileSync(`/proc/${last.pid}/oom_score_adj`, "utf8"))).toBe(1000);
  });

  test("ST-9 shim_cgroup is joined; one that is not there is an error", async (rig) => {
    const name = `${rig.namespace}-shim`;
    const roots = cgroupRoots();
    const made: string[] = [];
    for (const root of roots) {
      const path = join(root, name);
      // A named hierarchy without a controller takes cgroups too; a read-only one is left out.
      try {
        mkdirSync(path);
        made.push(path);
      } catch {
        continue;
      }
      // A cpuset takes no process until it has processors and memory.
      for (const file of ["cpuset.cpus", "cpuset.mems"]) {
        if (existsSync(join(path, file))) writeFileSync(join(path, file), readFileSync(join(root, file)));
      }
    }
    expect(made.length).toBeGreaterThan(0);
    try {
      const memory = made.find((path) => path.includes("/memory/")) ?? made[0] ?? "";
      const shim = await rig.start(await rig.bundle(), { runc: { shimCgroup: `/${name}` } });
      expect(readFileSync(join(memory, "cgroup.procs"), "utf8").trim().split("\n")).toEqual([String(shim.pid)]);
      await shim.end();
    } finally {
      for (const path of made) {
        await waitFor(`cgroup ${path} to be empty`, () => readFileSync(join(path, "cgroup.procs"), "utf8") === "");
        rmdirSync(path);
      }
    }
    const answer = await rig.callStart(await rig.bundle(), { runc: { shimCgroup: `/${name}/missing` } });
    expect(answer.exitCode).toBe(1);
    expect(answer.stderr).toMatch(/^failed to (load|join) cgroup .*missing.*\n$/);
  });

  test(
    `ST-7 the socket answers at once, ${times(30, 100)} starts`,
    async (rig) => {
      for (let n = 0; n < times(30, 100); n++) {
        const bundle = await rig.bundle();
        const answer = await rig.callStart(bundle);
        const client = await Client.connect({ unix: pathOfAddress(text(answer.stdout)) });
        const { shimPid } = await new TaskClient(client).connect(bundle.id);
        await new TaskClient(client).shutdown(bundle.id);
        client.close();
        await waitFor("the shim to end", () => !isAlive(shimPid));
        expect(existsSync(pathOfAddress(text(answer.stdout)))).toBe(false);
      }
    },
    { timeout: 120_000 },
  );

  test(
    "SK-2 R12 R13 a stale socket never fails a start",
    async (rig) => {
      const bundle = await rig.bundle();
      for (let n = 0; n < times(5, 200); n++) {
        const shim = await rig.start(bundle);
        await shim.signal("SIGKILL");
        expect(existsSync(shim.socket)).toBe(true);
      }
      await rig.start(bundle);
    },
    { timeout: 120_000 },
  );

  test("SK-2 a plain file in the socket's place does not fail a start", async (rig) => {
    const bundle = await rig.bundle();
    writeFileSync(rig.socketPath(bundle.id), "");
    await rig.start(bundle);
  });

  test("ST-8 SK-3 two starts of one group at the same time give one shim", async (rig) => {
    for (let round = 0; round < times(3, 30); round++) {
      const annotations = { "io.containerd.runc.v2.group": rig.id() };
      const bundles = await Promise.all([1, 2, 3, 4].map(() => rig.bundle({ annotations })));
      const shims = await Promise.all(bundles.map((bundle) => rig.start(bundle)));
      expect(new Set(shims.map((shim) => shim.address)).size).toBe(1);
      expect(new Set(shims.map((shim) => shim.pid)).size).toBe(1);
      for (const shim of shims) {
        expect(readFileSync(join(shim.bundle.path, "address"), "utf8")).toBe(shim.address);
      }
    }
  });

  test("ST-2 socket_dir of BootstrapParams is used; too long or relative is refused", async (rig) => {
    const directory = socketDirectory(rig, "s");
    const params = (id: string, socketDir: string) =>
      BootstrapParams.encode({
        instanceId: id,
        namespace: rig.namespace,
        containerdGrpcAddress: rig.grpcAddress,
        containerdTtrpcAddress: rig.events.path,
        socketDir,
      }).finish();
    const bundle = await rig.bundle();
    const answer = await rig.callStart(bundle, {}, params(bundle.id, directory));
    expect(answer.stderr).toBe("");
    const { version, address, protocol } = BootstrapResult.decode(answer.stdout);
    expect({ version, protocol }).toEqual({ version: 2, protocol: "ttrpc" });
    expect(address).toBe(`unix://${directory}/${rig.socketPath(bundle.id).split("/").at(-1)}`);
    expect(readFileSync(join(bundle.path, "address"), "utf8")).toBe(address);
    const shim = await rig.connect(bundle, address);
    await shim.end();
    expect(readdirSync(directory)).toEqual([]);
    for (const wrong of [`/${"d".repeat(42)}`, "run/s"]) {
      const other = await rig.bundle();
      const refused = await rig.callStart(other, {}, params(other.id, wrong));
      expect(refused.exitCode).toBe(1);
      expect(text(refused.stdout)).toBe("");
      expect(refused.stderr).toMatch(/^socket directory ".*" must be absolute and at most 42 bytes long\n$/);
      expect(rig.leftOf(other)).toEqual([]);
    }
  });

  test("SK-1 a -socket path that is too long is refused in one sentence", async (rig) => {
    const bundle = await rig.bundle();
    const [first, ...rest] = rig.flags(bundle, "start");
    const argv = ["-socket", `${rig.dir}/${"s".repeat(120)}`, first ?? "", ...rest];
    const answer = await callBinary({ argv, cwd: bundle.path, env: rig.environment() });
    expect(answer.exitCode).toBe(1);
    expect(text(answer.stdout)).toBe("");
    expect(answer.stderr).toMatch(/^socket path .* is longer than 106 bytes\n$/);
    expect(rig.leftOf(bundle)).toEqual([]);
  });

  test("ST-10 PR-9 -debug gives a debug socket with the state; an unknown path is 404; both go with the shim", async (rig) => {
    const shim = await rig.start(await rig.bundle(), { debug: true });
    await shim.create();
    const unix = rig.socketPath(shim.id, true);
    expect(statSync(unix).mode & 0o777).toBe(0o600);
    const state = (await (await fetch("http://shim/debug/state", { unix })).json()) as Record<string, unknown>;
    expect(state).toMatchObject({ pid: shim.pid, id: shim.id, namespace: rig.namespace, connections: 1 });
    expect(JSON.stringify(state["containers"])).toContain('"state":"created"');
    expect((await fetch("http://shim/debug/pprof/", { unix })).status).toBe(404);
    await shim.empty();
    await shim.end();
    expect(rig.leftOf(shim.bundle)).toEqual([]);
  });

  test("PR-9 without -debug there is no debug socket", async (rig) => {
    const shim = await rig.start(await rig.bundle());
    expect(existsSync(rig.socketPath(shim.id, true))).toBe(false);
  });
});

describe("bad input", () => {
  /** Starts what must not start: one line on stderr, nothing on stdout, status 1, nothing left. */
  async function refused(
    rig: Parameters<Parameters<typeof test>[1]>[0],
    wanted: RegExp,
    call: { argv?: readonly string[]; stdin?: Uint8Array; config?: string | null },
  ): Promise<void> {
    const bundle = await rig.bundle(call.config === undefined ? {} : { config: call.config });
    const answer = await callBinary({
      argv: call.argv ?? rig.flags(bundle, "start"),
      cwd: bundle.path,
      env: rig.environment(),
      ...(call.stdin === undefined ? {} : { stdin: call.stdin }),
    });
    expect(answer.stderr).toMatch(wanted);
    expect(answer.stderr).toMatch(/^[^\n]+\n$/);
    expect(text(answer.stdout)).toBe("");
    expect(answer.exitCode).toBe(1);
    expect(rig.leftOf(bundle)).toEqual([]);
    expect(readdirSync(bundle.path).filter((name) => name !== "log" && name !== "config.json")).toEqual([]);
  }

  test("INV-3 an empty namespace", async (rig) => {
    const flags = (name: string) => ["-namespace", name, "-address", rig.grpcAddress, "-id", "x", "start"];
    await refused(rig, /^shim namespace cannot be empty\n$/, { argv: flags("") });
    await refused(rig, /^shim namespace cannot be empty\n$/, { argv: ["-id", "x", "start"] });
  });

  test("INV-2 ids and namespaces that are no names: dots, slashes, too long, empty", async (rig) => {
    const argv = (namespace: string, id: string) => {
      return ["-namespace", namespace, "-address", rig.grpcAddress, "-id", id, "start"];
    };
    for (const id of ["..", "../x", "a/b", ".a", "a..b", "", "x".repeat(77), "a b", "ä"]) {
      await refused(rig, /^container id /, { argv: argv(rig.namespace, id) });
    }
    for (const namespace of ["..", "../x", "a/b", "x".repeat(77)]) {
      await refused(rig, /^namespace /, { argv: argv(namespace, "x") });
    }
  });

  test("INV-2 a command line that makes no sense", async (rig) => {
    await refused(rig, /^flag provided but not defined: -nonsense\n$/, { argv: ["-nonsense", "start"] });
    await refused(rig, /^flag needs an argument: -id\n$/, { argv: ["-namespace", rig.namespace, "-id"] });
    await refused(rig, /^unknown action "dance"/, { argv: ["-namespace", rig.namespace, "-id", "x", "dance"] });
    await refused(rig, /^unknown action ""/, { argv: ["-namespace", rig.namespace, "-id", "x"] });
    await refused(rig, /^invalid boolean value "perhaps" for -debug\n$/, { argv: ["-debug=perhaps", "start"] });
  });

  test("INV-2 Go's ways to write flags: -x=v, --x v, --x=v", async (rig) => {
    const bundle = await rig.bundle();
    const argv = [
      `--namespace=${rig.namespace}`,
      `-address=${rig.grpcAddress}`,
      "--id",
      bundle.id,
      "-debug=false",
      "start",
    ];
    const answer = await callBinary({ argv, cwd: bundle.path, env: rig.environment() });
    expect(answer.stderr).toBe("");
    await rig.connect(bundle, text(answer.stdout));
  });

  test("ST-1 a missing or damaged config.json", async (rig) => {
    await refused(rig, /config\.json.*no such file or directory/, { config: null });
    for (const config of ["", "{", "[]", "null", "17", '"text"']) await refused(rig, /config\.json/, { config });
  });

  test("ST-3 stdin that is neither dialect", async (rig) => {
    const stray = BootstrapParams.encode({ instanceId: "another", namespace: rig.namespace }).finish();
    const inputs = [utf8("nonsense"), new Uint8Array([0xff, 0xff, 0xff]), new Uint8Array(1000), utf8("{}")];
    for (const stdin of inputs) await refused(rig, /stdin of start/, { stdin });
    // Params for another id are, read as an Any, a type that nobody knows.
    await refused(rig, /"another"|stdin of start/, { stdin: stray });
  });

  test("ST-3 more than 10 MB on stdin", async (rig) => {
    await refused(rig, /stdin|too large/, { stdin: new Uint8Array((10 << 20) + 1).fill(1) });
  });

  test("T-CRE-1 options of an unknown type are refused by name", async (rig) => {
    const stdin = anyBytes({ type_url: "example.com/their.Options", value: utf8("x") });
    await refused(rig, /their\.Options/, { stdin });
    const damaged = anyBytes({ type_url: "containerd.runc.v1.Options", value: new Uint8Array([0x0a, 0xff]) });
    await refused(rig, /containerd\.runc\.v1\.Options/, { stdin: damaged });
  });

  test("OPT-2 generic options: an unknown key is refused by name, bad TOML and bad values are", async (rig) => {
    const generic = (body: string, configPath = "") => {
      const { Options } = runtimeoptions.v1;
      const value = Options.encode({ configBody: utf8(body), configPath }).finish();
      return anyBytes({ type_url: "runtimeoptions.v1.Options", value });
    };
    await refused(rig, /unknown option "SystemdCgruop"/, { stdin: generic("SystemdCgruop = true") });
    await refused(rig, /not valid TOML/, { stdin: generic("SystemdCgroup = [") });
    await refused(rig, /option IoUid must be a/, { stdin: generic('IoUid = "seven"') });
    await refused(rig, /option BinaryName must be a string/, { stdin: generic("BinaryName = 7") });
    const file = join(rig.dir, "options.toml");
    writeFileSync(file, "Rooot = 1\n");
    await refused(rig, /options\.toml: unknown option "Rooot"/, { stdin: generic("", file) });
    await refused(rig, /runtime options file.*: no such file/, { stdin: generic("", join(rig.dir, "none.toml")) });
  });
});
