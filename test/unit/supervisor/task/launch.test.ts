/** Binary calls of shims that are scripts: what they are told, and what comes of what they say. */

import { afterAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { containerd, google } from "../../../../proto/gen/supervisor.js";
import { Bundle } from "../../../../supervisor/task/bundle.ts";
import { makeCall } from "../../../../supervisor/task/call.ts";
import { type Caller, deleteShim, shimInfo, startShim } from "../../../../supervisor/task/launch.ts";
import type { Program } from "../../../../supervisor/task/program.ts";
import { outcome } from "../../../lib/outcome.ts";

const dir = mkdtempSync(join(tmpdir(), "berth-launch-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const caller: Caller = { address: "/run/x.sock", ttrpcAddress: "/run/x.sock.ttrpc", env: { MORE: "1" }, debug: false };
const bundle = new Bundle({ root: join(dir, "root"), state: join(dir, "state") }, "ns", "c1");
mkdirSync(bundle.path, { recursive: true });
let count = 0;

function shim(script: string): Program {
  const path = join(dir, `shim${++count}`);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return { path, command: [path], isOwn: false };
}

const warnings: string[] = [];
const start = (program: Program, options?: google.protobuf.Any.$Properties) =>
  startShim(program, caller, bundle, options, (text) => warnings.push(text));

test("start is told by flags, environment and stdin (INV-2, INV-4, INV-5)", async () => {
  const program = shim(`cat > stdin; echo "$@" > args; env > env; pwd > cwd; printf ' unix:///run/s \\n'`);
  const options = { type_url: "containerd.runc.v1.Options", value: new Uint8Array([1, 2]) };
  expect(await start(program, options)).toEqual({ version: 2, protocol: "ttrpc", address: "unix:///run/s" });
  const text = (name: string): string => readFileSync(join(bundle.path, name), "utf8").trim();
  expect(text("args")).toBe(`-namespace ns -address /run/x.sock -publish-binary ${process.execPath} -id c1 start`);
  expect(text("cwd")).toBe(bundle.path);
  const env = text("env").split("\n");
  const wanted = ["TTRPC_ADDRESS=/run/x.sock.ttrpc", "GRPC_ADDRESS=/run/x.sock", "NAMESPACE=ns", "MORE=1"];
  for (const line of [...wanted, "MAX_SHIM_VERSION=2", "GOMAXPROCS=2"]) expect(env).toContain(line);
  expect(readFileSync(join(bundle.path, "stdin"))).toEqual(Buffer.from(google.protobuf.Any.encode(options).finish()));
});

test("a child that holds the output does not hold the answer (ST-10)", async () => {
  const begun = performance.now();
  const program = shim("sleep 3 & echo unix:///run/s");
  expect((await start(program)).address).toBe("unix:///run/s");
  expect(performance.now() - begun).toBeLessThan(2_500);
});

test("a warning on stderr is passed on, and is no part of the answer (ST-5)", async () => {
  warnings.length = 0;
  expect((await start(shim("echo careful >&2; echo unix:///run/s"))).address).toBe("unix:///run/s");
  expect(warnings).toEqual(["careful\n"]);
});

test("a failure is told in the shim's words", async () => {
  expect(await outcome(start(shim("echo half; echo no luck >&2; exit 4")))).toThrow(
    "start failed: half\nno luck\n: exit status 4",
  );
  expect(await outcome(start({ path: "/nope", command: ["/nope"], isOwn: false }))).toThrow("start failed:");
});

test("a shim that wants bootstrap parameters gets them (ST-2, ST-12)", async () => {
  const program = shim(`cat > stdin; [ -s stdin ] || { echo "failed to read bootstrap params" >&2; exit 1; }
printf '\\010\\003\\022\\013unix:///a/b\\032\\005ttrpc'`);
  expect(await start(program)).toEqual({ version: 3, protocol: "ttrpc", address: "unix:///a/b" });
  const params = containerd.runtime.bootstrap.v1.BootstrapParams.decode(readFileSync(join(bundle.path, "stdin")));
  expect(params).toMatchObject({ instanceId: "c1", namespace: "ns", containerdTtrpcAddress: "/run/x.sock.ttrpc" });
});

test("delete answers how the container ended (DL-2)", async () => {
  const exitedAt = { seconds: 5, nanos: 6 };
  const answer = containerd.task.v2.DeleteResponse.encode({ pid: 7, exitStatus: 137, exitedAt }).finish();
  writeFileSync(join(bundle.path, "answer"), answer);
  const program = shim('echo "$@" > args; cat answer; echo warning >&2');
  warnings.length = 0;
  const exit = await deleteShim(program, caller, bundle, (text) => warnings.push(text));
  expect({ pid: exit.pid, status: exit.status, nanos: exit.at?.nanos }).toEqual({ pid: 7, status: 137, nanos: 6 });
  expect(warnings).toEqual(["warning\n"]);
  const args = readFileSync(join(bundle.path, "args"), "utf8").trim();
  expect(args.endsWith(`-id c1 -bundle ${bundle.path} delete`)).toBe(true);
  expect(await outcome(deleteShim(shim("echo broken >&2; exit 1"), caller, bundle, () => {}))).toThrow(
    "broken\n: exit status 1",
  );
});

test("-info gives options on stdin and takes bytes (IN-1)", async () => {
  expect(await shimInfo(shim('[ "$1" = -info ] && cat'), undefined)).toHaveLength(0);
  expect(await outcome(shimInfo(shim("echo why >&2; exit 2"), undefined))).toThrow('exit status 2 (stderr: "why\\n")');
});

test("a waiting process that is gone takes nothing, however much it is told", async () => {
  const call = makeCall({ program: shim("exec sleep 100"), args: [], cwd: dir, env: {}, input: "later" });
  const unhandled: unknown[] = [];
  const note = (error: unknown): unknown => unhandled.push(error);
  process.on("unhandledRejection", note);
  process.kill(call.pid, "SIGKILL");
  // Its end has not been seen yet.
  Bun.sleepSync(50);
  call.tell(new Uint8Array(4 << 20), new Uint8Array(10));
  expect((await call.firstWords()).output.bytes).toHaveLength(0);
  await Bun.sleep(50);
  process.off("unhandledRejection", note);
  expect(unhandled).toEqual([]);
});
