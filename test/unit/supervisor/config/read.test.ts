import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { containerd, runtimeoptions } from "../../../../proto/gen/supervisor.js";
import { exampleOf } from "../../../../supervisor/config/example.ts";
import { nearest } from "../../../../supervisor/config/nearest.ts";
import { readConfiguration } from "../../../../supervisor/config/read.ts";
import { packRuntimeOptions } from "../../../../supervisor/config/runtime-options.ts";
import { configuration } from "../../../../supervisor/config/table.ts";
import { ConfigError, loadConfig, ttrpcAddress } from "../../../../supervisor/config.ts";

const read = (text: string) => readConfiguration(configuration, text);

/** The message that a text is refused with. */
function refusal(text: string): string {
  try {
    read(text);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error("it was not refused");
}

describe("defaults", () => {
  test("an empty text gives every default", () => {
    const config = read("");
    expect(config.root).toBe("/var/lib/berth");
    expect(config.grpc).toEqual({
      address: "/run/berth/berth.sock",
      uid: 0,
      gid: 0,
      maxRecvMessageSize: 16 << 20,
      maxSendMessageSize: 16 << 20,
    });
    expect(config.gc.pauseThreshold).toBe(0.02);
    expect(config.gc.startupDelay).toBe(100);
    expect(config.runtimes.size).toBe(0);
    expect(ttrpcAddress(config)).toBe("/run/berth/berth.sock.ttrpc");
  });

  test("the example is TOML and gives the defaults", () => {
    expect(read(exampleOf(configuration))).toEqual(read(""));
  });

  test("the example's commented tables are right when they are used", () => {
    const config = read(exampleOf(configuration).replace(/^# (?=\[|\w+ = )/gm, ""));
    expect([...config.runtimes.keys()]).toEqual(["io.containerd.runc.v2"]);
    expect(config.proxyPlugins.get("stargz")?.type).toBe("snapshot");
  });
});

describe("values", () => {
  test("sizes, times, path lists, named tables", () => {
    const config = read(`
      [grpc]
      max_recv_message_size = "32 MiB"
      max_send_message_size = 1_000_000
      [gc]
      schedule_delay = "1m30s"
      [registry]
      config_path = "/a:/b/c"
      [runtimes."io.containerd.runsc.v1"]
      path = "/opt/bin/../shim"
      options = { SystemdCgroup = true }
    `);
    expect(config.grpc.maxRecvMessageSize).toBe(32 << 20);
    expect(config.grpc.maxSendMessageSize).toBe(1e6);
    expect(config.gc.scheduleDelay).toBe(90_000);
    expect(config.registry.configPath).toEqual(["/a", "/b/c"]);
    expect(config.runtimes.get("io.containerd.runsc.v1")).toEqual({
      path: "/opt/shim",
      options: { SystemdCgroup: true },
    });
  });

  test("containerd's further names of levels", () => {
    expect(read('debug.level = "trace"').debug.level).toBe("debug");
    expect(read('debug.level = "warning"').debug.level).toBe("warn");
    expect(read('debug.level = "panic"').debug.level).toBe("error");
  });

  test.each([
    ["", ""],
    ["/run/x.sock", "/run/x.sock"],
    ["127.0.0.1:1338", "127.0.0.1:1338"],
    ["[::1]:1338", "[::1]:1338"],
    [":1338", ":1338"],
  ])("a metrics address %p", (given, expected) => {
    expect(read(`metrics.address = ${JSON.stringify(given)}`).metrics.address).toBe(expected);
  });
});

describe("refusals", () => {
  test.each([
    ["[grpc]\nadress = 1", "unknown key grpc.adress at line 2: did you mean grpc.address?"],
    ["\n\nrot = 1", "unknown key rot at line 3: did you mean root?"],
    ["address = '/x'", "unknown key address at line 1: did you mean grpc.address?"],
    ["grpc.adress = '/x'", "unknown key grpc.adress at line 1: did you mean grpc.address?"],
    ["[gprc]\nuid = 1", "unknown key gprc at line 1: did you mean grpc?"],
    ["zzzzzz = 1", "unknown key zzzzzz at line 1; `berthd config default` lists every key"],
    ['[runtimes."a.b"]\npat = 1', 'unknown key runtimes."a.b".pat at line 2: did you mean runtimes."a.b".path?'],
    ["root = 3", 'wrong value of root at line 1: expected an absolute path, such as "/run/berth", not 3'],
    ["root = 'x'", 'wrong value of root at line 1: expected an absolute path, such as "/run/berth", not "x"'],
    ["[grpc]\ngid = -1", "wrong value of grpc.gid at line 2: expected a whole number from 0 to 4294967294, not -1"],
    ["grpc = 1", "wrong value of grpc at line 1: expected a table, not 1"],
    ["runtimes.x = 1", "wrong value of runtimes.x at line 1: expected a table, not 1"],
    [
      "gc = { pause_threshold = 2 }",
      "wrong value of gc.pause_threshold at line 1: expected a number from 0 to 0.5, not 2",
    ],
    ["root = 2020-01-01", 'wrong value of root at line 1: expected an absolute path, such as "/run/berth", not a date'],
    ["__proto__ = 1", "unknown key __proto__ at line 1; `berthd config default` lists every key"],
    ["metrics.address = '1.2.3.4:99999'", /expected the path of a unix socket or an address of TCP/],
    ["gc.startup_delay = '-1s'", /expected a time such as/],
    [
      "diff.max_size = '12 parsecs'",
      /expected a size from "1MiB" to "1024TiB", or a number of bytes, not "12 parsecs"/,
    ],
  ])("%p", (text, message) => {
    if (typeof message === "string") expect(refusal(text)).toBe(message);
    else expect(refusal(text)).toMatch(message);
  });

  test("every problem is told at once", () => {
    expect(refusal("a1 = 1\nroot = 1\n[grpc]\nuid = 'x'").split("\n")).toHaveLength(3);
  });

  test("a text that is not TOML is refused with its line", () => {
    expect(refusal('root = "/x"\n[grpc]\naddress = \nuid = 1\n')).toMatch(/^line 3 is not TOML: /);
    expect(refusal("root = '/x'\nroot = '/y'")).toMatch(/^line 2 is not TOML: /);
  });
});

describe("nearest", () => {
  test.each([
    ["adress", ["address", "uid"], "address"],
    ["giu", ["gid", "uid"], "gid"],
    ["levle", ["level"], "level"],
    ["xyz", ["address"], undefined],
    ["", ["address"], undefined],
  ])("%p among %p", (name, candidates, expected) => {
    expect(nearest(name, candidates)).toBe(expected);
  });
});

describe("loadConfig", () => {
  test("flags win over the file, the file over the defaults", () => {
    const directory = mkdtempSync(join(tmpdir(), "berth-config-"));
    try {
      const file = join(directory, "config.toml");
      writeFileSync(file, 'root = "/from/file"\nstate = "/from/file"\n[debug]\nlevel = "warn"\n');
      const config = loadConfig({ root: "/from/flag", "log-level": "debug" }, { BERTH_CONFIG: file });
      expect(config.root).toBe("/from/flag");
      expect(config.state).toBe("/from/file");
      expect(config.debug.level).toBe("debug");
      expect(loadConfig({ config: file }, { BERTH_CONFIG: "/nowhere" }).debug.level).toBe("warn");
      writeFileSync(file, "nonsense = 1\n");
      expect(() => loadConfig({ config: file }, {})).toThrow(`${file}: unknown key nonsense at line 1`);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test("a named file that is missing, and a wrong flag, are refused", () => {
    expect(() => loadConfig({ config: "/nowhere/x.toml" }, {})).toThrow("/nowhere/x.toml");
    expect(() => loadConfig({ root: "relative" }, {})).toThrow(
      '--root: expected an absolute path, such as "/run/berth"',
    );
    expect(() => loadConfig({ "log-level": "loud" }, {})).toThrow("--log-level: expected");
  });
});

describe("runtime options", () => {
  test("runc's are packed as its own message; others' as TOML in the generic one", () => {
    const runc = packRuntimeOptions("io.containerd.runc.v2", { SystemdCgroup: true, BinaryName: "crun", IoUid: 5 });
    expect(runc?.type_url).toBe("containerd.runc.v1.Options");
    const decoded = containerd.runc.v1.Options.decode(runc?.value ?? new Uint8Array());
    expect([decoded.systemdCgroup, decoded.binaryName, decoded.ioUid]).toEqual([true, "crun", 5]);
    const other = packRuntimeOptions("io.containerd.runsc.v1", { TypeUrl: "x", a: { b: { c: 1 }, d: "q" } });
    const body = runtimeoptions.v1.Options.decode(other?.value ?? new Uint8Array()).configBody;
    expect(Bun.TOML.parse(new TextDecoder().decode(body))).toEqual({ TypeUrl: "x", a: { b: { c: 1 }, d: "q" } });
    expect(packRuntimeOptions("io.containerd.runc.v2", {})).toBeUndefined();
  });

  test("wrong ones of runc are refused", () => {
    const pack = (options: Record<string, unknown>) => () => packRuntimeOptions("io.containerd.runc.v2", options);
    expect(pack({ SystemdCgroups: true })).toThrow(
      'unknown key runtimes."io.containerd.runc.v2".options.SystemdCgroups: did you mean SystemdCgroup?',
    );
    expect(pack({ IoUid: "0" })).toThrow('options.IoUid: expected a number, not "0"');
  });
});
