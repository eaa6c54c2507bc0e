import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code } from "../../../../proto/ttrpc/status.ts";
import { Bundle, type BundleSpec, groupOf, runcRoot } from "../../../../shim/container/bundle.ts";
import { parseOptions } from "../../../../shim/container/options.ts";

const base = mkdtempSync(join(tmpdir(), "berth-bundle-"));
afterAll(() => rmSync(base, { recursive: true }));
let count = 0;
let dir = "";
let bundle = new Bundle(dir);
beforeEach(() => {
  dir = join(base, `b${++count}`);
  mkdirSync(dir);
  bundle = new Bundle(dir);
});

const write = (name: string, text: string) => writeFileSync(join(dir, name), text);
function specOf(config: unknown): BundleSpec {
  write("config.json", JSON.stringify(config));
  return bundle.readSpec();
}
const sharesPids = (namespaces: unknown) => specOf({ linux: { namespaces } }).sharesPids;

describe("PR-3 whether init shares its pids", () => {
  test.each([
    [[{ type: "pid" }], false],
    [[{ type: "pid", path: "" }], false],
    [[{ type: "pid", path: null }], false],
    [[{ type: "mount" }, { type: "pid" }], false],
    [[{ type: "pid", path: "/proc/1/ns/pid" }], true],
    [[{ type: "network" }], true],
    [[], true],
    [undefined, true],
    [null, true],
    ["pid", true],
    [{ type: "pid" }, true],
    [[null, 7, "pid", { type: 1 }], true],
  ])("%j: %p", (namespaces, shared) => {
    expect(sharesPids(namespaces)).toBe(shared);
  });

  test.each([[{}], [{ linux: null }], [{ linux: "x" }]])("%j", (config) => {
    expect(specOf(config).sharesPids).toBe(true);
  });
});

describe("SK-3 the group", () => {
  const group = (annotations: unknown) => groupOf(specOf({ annotations }), "id");

  test.each([
    [undefined, "id"],
    [null, "id"],
    ["x", "id"],
    [{}, "id"],
    [{ "io.containerd.runc.v2.group": "g" }, "g"],
    [{ "io.kubernetes.cri.sandbox-id": "pod" }, "pod"],
    [{ "io.kubernetes.cri.sandbox-id": "pod", "io.containerd.runc.v2.group": "g" }, "g"],
    [{ "io.containerd.runc.v2.group": "", "io.kubernetes.cri.sandbox-id": "pod" }, "pod"],
    [{ "io.containerd.runc.v2.group": 7 }, "id"],
    [{ "io.containerd.runc.v2.group": ["g"] }, "id"],
  ])("%j: %p", (annotations, expected) => {
    expect(group(annotations)).toBe(expected);
  });
});

describe("a damaged config.json is InvalidArgument", () => {
  test.each(["", "{", "null", "[]", '"x"', "7", "\0", "[".repeat(200_000)])("%#", (text) => {
    write("config.json", text);
    expect(() => bundle.readSpec()).toThrow(expect.objectContaining({ code: Code.InvalidArgument }));
  });

  test("a missing one, a directory", () => {
    const invalid = expect.objectContaining({
      code: Code.InvalidArgument,
      message: expect.stringContaining("config.json"),
    });
    expect(() => bundle.readSpec()).toThrow(invalid);
    mkdirSync(join(dir, "config.json"));
    expect(() => bundle.readSpec()).toThrow(invalid);
  });
});

describe("DL-6 the exit record", () => {
  test("is read as it was written", () => {
    expect(bundle.readExitRecord()).toBeUndefined();
    bundle.writeExitRecord(42, { status: 137, at: 1_700_000_000_123 }, false);
    const record = { pid: 42, exitStatus: 137, exitedAt: 1_700_000_000_123, deleted: false };
    expect(bundle.readExitRecord()).toEqual(record);
    bundle.writeExitRecord(42, { status: 137, at: 1_700_000_000_123 }, true);
    expect(bundle.readExitRecord()).toEqual({ ...record, deleted: true });
    expect(readdirSync(dir)).toEqual(["exitstatus.json"]);
  });

  test.each([
    "",
    "{",
    "null",
    "[]",
    "{}",
    '{"pid":1,"exitStatus":0}',
    '{"pid":"1","exitStatus":0,"exitedAt":1}',
    '{"pid":1,"exitStatus":-1,"exitedAt":1}',
    '{"pid":1,"exitStatus":0.5,"exitedAt":1}',
    '{"pid":1,"exitStatus":0,"exitedAt":1e400}',
  ])("a damaged one is none: %j", (text) => {
    write("exitstatus.json", text);
    expect(bundle.readExitRecord()).toBeUndefined();
  });

  test("only true means deleted", () => {
    write("exitstatus.json", '{"pid":1,"exitStatus":0,"exitedAt":1,"deleted":"yes"}');
    expect(bundle.readExitRecord()?.deleted).toBe(false);
  });
});

describe("what delete needs", () => {
  const options = { ...parseOptions(undefined), root: "/run/r", binaryName: "crun", systemdCgroup: true };

  test("options and runtime are read as they were written, by root only", () => {
    bundle.writeOptions(options);
    expect(bundle.readOptions()).toMatchObject({ root: "/run/r", binaryName: "crun", systemdCgroup: true });
    expect(bundle.readRuntime()).toBe("crun");
    expect(statSync(join(dir, "options.json")).mode & 0o777).toBe(0o600);
  });

  test("no binary name is the default", () => {
    bundle.writeOptions({ ...options, binaryName: "" });
    expect(bundle.readRuntime()).toBeUndefined();
  });

  test.each(["", "{", "null", "7", '"x"'])("DL-5 damaged options are none: %j", (text) => {
    write("options.json", text);
    expect(bundle.readOptions()).toBeUndefined();
  });

  test("DL-5 values of other types, as another shim may have written, are the defaults", () => {
    write("options.json", '{"root":7,"binaryName":["x"],"systemdCgroup":"true"}');
    expect(bundle.readOptions()).toMatchObject({ root: "", binaryName: "", systemdCgroup: false });
    write("options.json", '{"type_url":"containerd.runc.v1.Options","value":"OgQvcnVu"}');
    expect(bundle.readOptions()).toMatchObject({ root: "", binaryName: "", systemdCgroup: false });
  });

  test("ST-11 the address is readable for containerd, and without a line end", () => {
    bundle.writeAddress("unix:///run/s/x");
    expect(readFileSync(join(dir, "address"), "utf8")).toBe("unix:///run/s/x");
    expect(statSync(join(dir, "address")).mode & 0o777).toBe(0o644);
    expect(bundle.readAddress()).toBe("unix:///run/s/x");
  });

  test("empty or missing files say nothing", () => {
    expect([bundle.readAddress(), bundle.readRuntime(), bundle.readShimPid()]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    for (const name of ["address", "runtime", "shim.pid"]) write(name, " \n");
    expect([bundle.readAddress(), bundle.readRuntime(), bundle.readShimPid()]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });
});

describe("pids", () => {
  test.each([
    ["1", 1],
    ["4194304\n", 4194304],
    [" 12 ", 12],
  ])("%j is %d", (text, pid) => {
    write("init.pid", text);
    expect(bundle.readPid(bundle.initPidFile)).toBe(pid);
  });

  test.each(["", "0", "-1", "1.5", "1e3", "0x10", "12 13", "4194305", "99999999999", "Infinity", "pid"])(
    "%j is none, so that no signal goes astray",
    (text) => {
      write("init.pid", text);
      expect(() => bundle.readPid(bundle.initPidFile)).toThrow("no pid in");
    },
  );

  test("a missing file is none", () => {
    expect(() => bundle.readPid(bundle.initPidFile)).toThrow(`no pid in ${dir}/init.pid`);
  });

  test("an exec of any allowed name leaves the shim's own files alone", () => {
    const own = [bundle.initPidFile, bundle.logFile, join(dir, "shim.pid"), join(dir, "address")];
    const ids = ["init", "shim", "a", "exec-a", "a.b", "log.json", "exec"];
    const files = ids.map((id) => bundle.execPidFile(id));
    expect(files.filter((file) => own.includes(file))).toEqual([]);
    expect(new Set(files).size).toBe(ids.length);
    for (const file of files) expect(join(file, "..")).toBe(dir);
  });
});

test("writes into a bundle that is gone are errors, not files elsewhere", () => {
  rmSync(dir, { recursive: true });
  expect(() => bundle.writeAddress("x")).toThrow("no such file or directory");
  expect(existsSync(dir)).toBe(false);
});

test("UN-4 runc's root has the namespace as its last part", () => {
  expect(runcRoot(undefined, "ns")).toBe("/run/containerd/runc/ns");
  expect(runcRoot("", "ns")).toBe("/run/containerd/runc/ns");
  expect(runcRoot("/r", "ns")).toBe("/r/ns");
});
