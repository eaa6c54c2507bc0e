import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { containerd, runtimeoptions } from "../../../../proto/gen/shim.js";
import { Code } from "../../../../proto/ttrpc/status.ts";
import { parseOptions, parseToml } from "../../../../shim/container/options.ts";

const dir = mkdtempSync(join(tmpdir(), "berth-options-"));
afterAll(() => rmSync(dir, { recursive: true }));

const none = {
  noPivotRoot: false,
  noNewKeyring: false,
  shimCgroup: "",
  ioUid: 0,
  ioGid: 0,
  binaryName: "",
  root: "",
  systemdCgroup: false,
  criuImagePath: "",
  criuWorkPath: "",
};
const all = {
  noPivotRoot: true,
  noNewKeyring: true,
  shimCgroup: "/shims",
  ioUid: 1000,
  ioGid: 4294967295,
  binaryName: "crun",
  root: "/run/crun",
  systemdCgroup: true,
  criuImagePath: "/images",
  criuWorkPath: "/work",
};
const toml = `
  # as CRI writes it
  NoPivotRoot = true
  NoNewKeyring = true
  ShimCgroup = "/shims"
  IoUid = 1000
  IoGid = 4294967295
  BinaryName = "crun"
  Root = '/run/crun'
  SystemdCgroup = true
  CriuImagePath = "/images"
  CriuWorkPath = "/work"
`;
const runcAny = (options: Parameters<typeof containerd.runc.v1.Options.encode>[0]) => ({
  type_url: "containerd.runc.v1.Options",
  value: containerd.runc.v1.Options.encode(options).finish(),
});
const genericAny = (
  options: Parameters<typeof runtimeoptions.v1.Options.encode>[0],
  type = "runtimeoptions.v1.Options",
) => ({
  type_url: type,
  value: runtimeoptions.v1.Options.encode(options).finish(),
});
const body = (text: string) => genericAny({ configBody: new TextEncoder().encode(text) });

/** Expects InvalidArgument with a sentence. */
function refuses(action: () => unknown, sentence: string): void {
  expect(action).toThrow(
    expect.objectContaining({ code: Code.InvalidArgument, message: expect.stringContaining(sentence) }),
  );
}

describe("T-CRE-1 the kinds of options", () => {
  test.each([[undefined], [null], [{}], [{ type_url: "" }], [{ type_url: "", value: new Uint8Array([1]) }]])(
    "none: %j",
    (any) => {
      expect(parseOptions(any)).toEqual(none);
    },
  );

  test("runc's: nothing set, and every field", () => {
    expect(parseOptions(runcAny({}))).toEqual(none);
    expect(parseOptions({ type_url: "containerd.runc.v1.Options" })).toEqual(none);
    expect(parseOptions(runcAny(all))).toEqual(all);
  });

  test("runc's under a Google URL", () => {
    const { value } = runcAny(all);
    expect(parseOptions({ type_url: "type.googleapis.com/containerd.runc.v1.Options", value })).toEqual(all);
  });

  test("OPT-2 generic with a body: every field by the name of containerd's configuration", () => {
    expect(parseOptions(body(toml))).toEqual(all);
    expect(parseOptions(body("SystemdCgroup = true"))).toEqual({ ...none, systemdCgroup: true });
  });

  test("OPT-2 generic as containerd 1.5 named it", () => {
    expect(parseOptions(genericAny({}, "cri.runtimeoptions.v1.Options"))).toEqual(none);
  });

  test("OPT-2 generic with a file", () => {
    const configPath = join(dir, "runtime.toml");
    writeFileSync(configPath, toml);
    expect(parseOptions(genericAny({ configPath }))).toEqual(all);
  });

  test("OPT-2 the body wins over the file", () => {
    const configBody = new TextEncoder().encode('Root = "/body"');
    expect(parseOptions(genericAny({ configPath: join(dir, "missing"), configBody })).root).toBe("/body");
  });

  test("another type is refused by its name", () => {
    refuses(() => parseOptions({ type_url: "runhcs.v1.Options", value: new Uint8Array() }), '"runhcs.v1.Options"');
    refuses(() => parseOptions({ type_url: "constructor" }), '"constructor"');
  });
});

describe("nothing is silently ignored", () => {
  test("a message that is none", () => {
    const value = new Uint8Array([0x1a, 0xff]);
    refuses(() => parseOptions({ type_url: "containerd.runc.v1.Options", value }), "are no containerd.runc.v1.Options");
    refuses(() => parseOptions({ type_url: "runtimeoptions.v1.Options", value }), "are no runtimeoptions.v1.Options");
  });

  test("the deprecated task API address", () => {
    refuses(() => parseOptions(runcAny({ taskApiAddress: "unix:///x" })), "task_api_address");
  });

  test.each([
    ["SystemdCGroup = true", 'unknown option "SystemdCGroup"'],
    ["systemdCgroup = true", 'unknown option "systemdCgroup"'],
    ["[options]\nRoot = '/x'", 'unknown option "options"'],
    ["constructor = 1", 'unknown option "constructor"'],
    ["toString = 1", 'unknown option "toString"'],
    ['SystemdCgroup = "true"', "SystemdCgroup must be a boolean"],
    ["SystemdCgroup = 1", "SystemdCgroup must be a boolean"],
    ["BinaryName = 1", "BinaryName must be a string"],
    ["Root = ['/a']", "Root must be a string"],
    ['IoUid = "0"', "IoUid must be a whole number from 0 to 4294967295"],
    ["IoUid = -1", "IoUid must be a whole number"],
    ["IoUid = 1.5", "IoUid must be a whole number"],
    ["IoGid = 4294967296", "IoGid must be a whole number"],
    ["IoGid = nan", "IoGid must be a whole number"],
    ["Root = /x", "not valid TOML"],
    ["= 1", "not valid TOML"],
  ])("%j", (text, sentence) => {
    refuses(() => parseOptions(body(text)), sentence);
  });

  test("an error in a file names the file", () => {
    refuses(() => parseToml("Nope = 1", "/etc/berth.toml"), "/etc/berth.toml: unknown option");
  });
});

test.each(["TypeUrl", "ConfigPath", "ConfigBody", "CriuPath"])(
  "%s is containerd's own and means nothing here",
  (name) => {
    expect(parseToml(`${name} = "x"`, "x")).toEqual(none);
  },
);

describe("OPT-2 a file that cannot be read", () => {
  test("missing", () => refuses(() => parseOptions(genericAny({ configPath: join(dir, "none") })), "no such file"));

  test("a directory, a device", () => {
    refuses(() => parseOptions(genericAny({ configPath: dir })), "no regular file");
    refuses(() => parseOptions(genericAny({ configPath: "/dev/zero" })), "no regular file");
  });

  test("PR-7 a FIFO, which would stop the shim until somebody wrote", () => {
    const configPath = join(dir, "fifo");
    expect(Bun.spawnSync(["mkfifo", configPath]).exitCode).toBe(0);
    refuses(() => parseOptions(genericAny({ configPath })), "no regular file");
  });

  test("too large", () => {
    const configPath = join(dir, "large");
    writeFileSync(configPath, `#${"x".repeat(1 << 20)}`);
    refuses(() => parseOptions(genericAny({ configPath })), "file too large");
  });
});
