import { describe, expect, test } from "bun:test";
import { Command } from "commander";
import { addRunFlags, type RunFlags, runOptions } from "../../../../../supervisor/cli/container/flags.ts";
import { DetachKeys } from "../../../../../supervisor/cli/container/keys.ts";
import * as parse from "../../../../../supervisor/cli/container/parse.ts";

/** The options that a command line of `run` stands for. */
function options(...line: string[]) {
  let found: ReturnType<typeof runOptions> | undefined;
  const program = new Command().enablePositionalOptions();
  const command = program.command("run").argument("<image>").argument("[command...]").passThroughOptions();
  addRunFlags(command).action((image: string, args: string[], flags: RunFlags) => {
    found = runOptions(image, args, flags);
  });
  program.exitOverride().parse(["run", ...line], { from: "user" });
  return found;
}

describe("the flags of run", () => {
  test("what stands behind the image is the container's", () => {
    expect(options("-it", "busybox", "ls", "-l", "--name", "x")).toMatchObject({
      image: "busybox",
      command: ["ls", "-l", "--name", "x"],
      tty: true,
      stdin: true,
    });
  });

  test("limits", () => {
    expect(options("-m", "64m", "--cpus", "1.5", "--pids-limit", "100", "--memory-swap", "-1", "i")).toMatchObject({
      memory: 64 << 20,
      cpus: 1.5,
      pidsLimit: 100,
      memorySwap: -1,
    });
  });

  test("health", () => {
    const line = [
      "--health-cmd",
      "curl -f localhost",
      "--health-interval",
      "5s",
      "--health-on-failure",
      "restart",
      "i",
    ];
    expect(options(...line)?.health).toEqual({
      test: ["CMD-SHELL", "curl -f localhost"],
      interval: 5000,
      action: "restart",
    });
    expect(options("--no-healthcheck", "i")?.health).toBeNull();
    expect(options("i")).not.toHaveProperty("health");
  });

  test("networks", () => {
    expect(options("--network", "host", "i")).toMatchObject({ networkMode: "host" });
    expect(
      options("--network", "a", "--network", "name=b,ip=10.0.0.2,alias=x", "--network-alias", "w", "i"),
    ).toMatchObject({
      networks: [
        { name: "a", aliases: ["w"] },
        { name: "b", ip: "10.0.0.2", aliases: ["x"] },
      ],
    });
    expect(() => options("--network", "host", "--network", "a", "i")).toThrow("goes with no other");
  });

  test("environment comes from here where only a name is given", () => {
    process.env["BERTH_TEST_VARIABLE"] = "here";
    expect(options("-e", "BERTH_TEST_VARIABLE", "-e", "BERTH_TEST_NONE", "-e", "A=b=c", "i")?.env).toEqual([
      "BERTH_TEST_VARIABLE=here",
      "A=b=c",
    ]);
  });

  test("an empty entrypoint is none", () => {
    expect(options("--entrypoint", "", "i")?.entrypoint).toEqual([]);
    expect(options("--entrypoint", "/x", "i")?.entrypoint).toEqual(["/x"]);
  });

  test("--init says what to do", () => {
    expect(() => options("--init", "i")).toThrow("tini");
  });
});

describe("-v", () => {
  test.each([
    ["/a:/b", { type: "bind", source: "/a", target: "/b", readOnly: false, createSource: true }],
    ["./a:/b:ro", { type: "bind", source: "/cwd/a", target: "/b", readOnly: true, createSource: true }],
    ["data:/b", { type: "volume", source: "data", target: "/b", readOnly: false }],
    ["data:/b:ro,nocopy", { type: "volume", source: "data", target: "/b", readOnly: true, noCopy: true }],
    ["/b", { type: "volume", target: "/b", readOnly: false }],
    [
      "/a:/b:rshared",
      { type: "bind", source: "/a", target: "/b", readOnly: false, createSource: true, propagation: "rshared" },
    ],
  ] as [string, ReturnType<typeof parse.volumeFlag>][])("%s", (text, mount) => {
    expect(parse.volumeFlag(text, "/cwd")).toEqual(mount);
  });

  test.each(["a:b", ":/b", "/a:/b:xx", "/a:/b:ro:z", "d@ta:/b", "relative"])("%s is refused", (text) => {
    expect(() => parse.volumeFlag(text)).toThrow("--volume");
  });
});

describe("--mount", () => {
  test.each([
    ["type=bind,src=/a,dst=/b,ro", { type: "bind", source: "/a", target: "/b", readOnly: true }],
    ["source=data,target=/b", { type: "volume", source: "data", target: "/b", readOnly: false }],
    [
      "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777",
      { type: "tmpfs", target: "/t", readOnly: false, size: 1 << 20, mode: 0o1777 },
    ],
  ] as [string, ReturnType<typeof parse.mountFlag>][])("%s", (text, mount) => {
    expect(parse.mountFlag(text)).toEqual(mount);
  });

  test.each([
    "type=bind,target=/b",
    "type=nfs,target=/b",
    "type=volume,target=b",
    "type=tmpfs,target=/t,foo=1",
    "type=tmpfs,target=/t,tmpfs-mode=999",
  ])("%s is refused", (text) => {
    expect(() => parse.mountFlag(text)).toThrow();
  });
});

describe("-p", () => {
  const free = () => 32_768;
  test.each([
    ["80", [{ hostPort: 32_768, containerPort: 80, protocol: "tcp" }]],
    ["8080:80", [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }]],
    ["127.0.0.1:8080:80/udp", [{ hostIp: "127.0.0.1", hostPort: 8080, containerPort: 80, protocol: "udp" }]],
    ["127.0.0.1::80", [{ hostIp: "127.0.0.1", hostPort: 32_768, containerPort: 80, protocol: "tcp" }]],
    ["[::1]:53:53/udp", [{ hostIp: "::1", hostPort: 53, containerPort: 53, protocol: "udp" }]],
    [
      "8000-8001:80-81",
      [
        { hostPort: 8000, containerPort: 80, protocol: "tcp" },
        { hostPort: 8001, containerPort: 81, protocol: "tcp" },
      ],
    ],
  ] as [string, ReturnType<typeof parse.portFlag>][])("%s", (text, ports) => {
    expect(parse.portFlag(text, free)).toEqual(ports);
  });

  test.each(["0", "70000", "80:80:80:80", "a:80", "8000-8002:80-81", "80/icmp", "1-60000:1-60000", ""])(
    "%s is refused",
    (text) => {
      expect(() => parse.portFlag(text, free)).toThrow("--publish");
    },
  );
});

test("other values", () => {
  expect(parse.ulimitFlag("nofile=1024:-1")).toEqual({ name: "nofile", soft: 1024, hard: -1 });
  expect(() => parse.ulimitFlag("files=1")).toThrow("NAME=SOFT");
  expect(parse.deviceFlag("/dev/null")).toEqual({ source: "/dev/null", target: "/dev/null", permissions: "rwm" });
  expect(parse.deviceFlag("/dev/null:/dev/x:r")).toEqual({ source: "/dev/null", target: "/dev/x", permissions: "r" });
  expect(parse.deviceFlag("/dev/null:r")).toMatchObject({ target: "/dev/null", permissions: "r" });
  expect(() => parse.deviceFlag("null")).toThrow("--device");
  expect(parse.restartFlag("on-failure:3")).toEqual({ name: "on-failure", maximum: 3 });
  expect(() => parse.restartFlag("sometimes")).toThrow("--restart");
  expect(parse.tmpfsFlag("/t:size=1m,exec")).toEqual({ type: "tmpfs", target: "/t", size: 1 << 20, options: ["exec"] });
  expect(() => parse.tmpfsFlag("/t:lowerdir=/")).toThrow("no option");
  expect(parse.logFlags("json-file", ["max-size=1m", "max-file=2"])).toEqual({
    driver: "json",
    maxSize: 1 << 20,
    maxFile: 2,
  });
  expect(parse.logFlags("binary:///bin/log", [])).toEqual({ driver: "raw", uri: "binary:///bin/log" });
  expect(() => parse.logFlags("syslog", [])).toThrow("--log-driver");
  expect(parse.envFile("f", "# no\n\nA=1\r\nB= x y\nHOME", { HOME: "/h" })).toEqual(["A=1", "B= x y", "HOME=/h"]);
  expect(() => parse.envFile("f", "A=1\nno good=2", {})).toThrow("f:2");
});

describe("the keys that leave a container", () => {
  const keys = () => new DetachKeys(parse.detachKeysOf("ctrl-p,ctrl-q"));
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  const type = (line: string) => new TextEncoder().encode(line);

  test("are seen, also in two pieces, and not given to the container", () => {
    const one = keys().take(type("ab\x10\x11cd"));
    expect([text(one.bytes), one.isDetached]).toEqual(["ab", true]);
    const two = keys();
    expect(two.take(type("a\x10"))).toMatchObject({ isDetached: false });
    expect(two.take(type("\x11"))).toMatchObject({ isDetached: true });
  });

  test("what only began like them is given to the container", () => {
    const some = keys();
    expect(text(some.take(type("a\x10")).bytes)).toBe("a");
    expect(text(some.take(type("b")).bytes)).toBe("\x10b");
    expect(text(some.take(type("\x10\x10")).bytes)).toBe("\x10");
    expect(some.take(type("\x11")).isDetached).toBe(true);
  });

  test("are refused when they are none", () => {
    expect(parse.detachKeysOf("")).toEqual([]);
    expect(parse.detachKeysOf("a,ctrl-@")).toEqual([97, 0]);
    expect(() => parse.detachKeysOf("ctrl-")).toThrow("--detach-keys");
  });
});
