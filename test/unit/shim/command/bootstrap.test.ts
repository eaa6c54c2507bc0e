import { describe, expect, test } from "bun:test";
import { containerd, google } from "../../../../proto/gen/shim.js";
import { bootstrapAnswer, parseBootstrap } from "../../../../shim/command/bootstrap.ts";
import { parseFlags } from "../../../../shim/command/flags.ts";
import { parseOptions } from "../../../../shim/container/options.ts";
import { calls } from "./calls.ts";

const { BootstrapParams, BootstrapResult } = containerd.runtime.bootstrap.v1;
const { Any } = google.protobuf;
const runc = "containerd.runc.v1.Options";

const params = (fields: Parameters<typeof BootstrapParams.encode>[0]) =>
  BootstrapParams.encode({ instanceId: "c", namespace: "n", ...fields }).finish();

describe("ST-1 to ST-3 every captured stdin of start", () => {
  for (const { title, containerd: version, argv, stdin, env, action } of calls) {
    if (action !== "start") continue;
    test(title, () => {
      const { id, namespace, debug, address } = parseFlags(argv);
      const bootstrap = parseBootstrap(stdin, id, namespace);
      const modern = version.startsWith("2.4");
      expect(bootstrap.modern).toBe(modern);
      expect(bootstrap.grpcAddress).toBe(modern ? address : undefined);
      expect(bootstrap.ttrpcAddress).toBe(modern ? env["TTRPC_ADDRESS"] : undefined);
      expect(bootstrap.socketDirectory).toBe(modern ? "/run/containerd/s" : undefined);
      expect(bootstrap.level).toBe(modern ? (debug ? "debug" : "info") : undefined);
      const type = { "other-name": undefined, "config-path": "runtimeoptions.v1.Options" }[title.split(" ")[1] ?? ""];
      if (title.includes("other-name")) expect(bootstrap.options).toBeUndefined();
      else expect(bootstrap.options?.type_url).toBe(type ?? runc);
      if (title.includes("with-options")) expect(parseOptions(bootstrap.options).root).toBe("/run/fixture-runc");
    });
  }
});

describe("ST-3 telling the dialects apart", () => {
  test("empty input is no options", () => {
    expect(parseBootstrap(new Uint8Array(), "c", "n")).toMatchObject({ modern: false, options: undefined });
  });

  test("parameters for another id or namespace are not for us, and no options either", () => {
    for (const [id, namespace] of [
      ["other", "n"],
      ["c", "other"],
    ] as const) {
      // Field 1 of both messages is a string: "c" would be a type URL. It is left to the options to refuse it.
      expect(parseBootstrap(params({}), id, namespace)).toMatchObject({ modern: false });
      expect(() => parseOptions(parseBootstrap(params({}), id, namespace).options)).toThrow('type "c"');
    }
  });

  test("options whose type is our id by chance are still options unless the namespace fits too", () => {
    const input = Any.encode({ type_url: "c", value: new Uint8Array([1]) }).finish();
    expect(parseBootstrap(input, "c", "n").modern).toBe(false);
  });

  test.each([
    ["rubbish", new TextEncoder().encode("{}")],
    ["a truncated message", params({ containerdBinary: "/usr/bin/containerd" }).slice(0, -3)],
    ["an Any without a type", Any.encode({ value: new Uint8Array([1, 2]) }).finish()],
  ])("%s is refused", (_, input) => {
    expect(() => parseBootstrap(input, "c", "n")).toThrow("neither BootstrapParams");
  });

  test("of several extensions the options are taken, in whatever place", () => {
    const extensions = [
      {},
      { value: { type_url: "example.com/Other", value: new Uint8Array([1]) } },
      { value: { type_url: runc, value: new Uint8Array([0x48, 1]) } },
    ];
    const { options } = parseBootstrap(params({ extensions }), "c", "n");
    expect(parseOptions(options).systemdCgroup).toBe(true);
  });

  test.each([
    [-8, "debug"],
    [-4, "debug"],
    [-1, "debug"],
    [0, "info"],
    [3, "info"],
    [4, "warn"],
    [7, "warn"],
    [8, "error"],
    [10, "error"],
    [12, "error"],
    [1000, "error"],
  ] as const)("ST-2 level %d is %s", (number, level) => {
    const logLevel = number as containerd.runtime.bootstrap.v1.LogLevel;
    expect(parseBootstrap(params({ logLevel }), "c", "n").level).toBe(level);
  });
});

describe("ST-4 the answer", () => {
  const address = `unix:///run/containerd/s/${"0".repeat(64)}`;

  test("is the plain address for those who know no other, and no protobuf by chance", () => {
    const answer = bootstrapAnswer(false, address);
    expect(new TextDecoder().decode(answer)).toBe(address);
    expect(() => BootstrapResult.decode(answer)).toThrow();
  });

  test("is a BootstrapResult for those who sent parameters", () => {
    expect(BootstrapResult.decode(bootstrapAnswer(true, address))).toMatchObject({
      version: 2,
      address,
      protocol: "ttrpc",
    });
  });
});
