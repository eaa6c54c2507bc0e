/** The kit calls `start` as four versions of containerd were seen to, and reads the answers that the Go shim gave them. */

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { containerd, google } from "../../../proto/gen/shim.js";
import {
  dialects,
  readAnswer,
  type StartCall,
  socketPath,
  startEnvironment,
  startStdin,
} from "../../conformance/rig/dialect.ts";

interface Captured {
  readonly containerd: string;
  readonly case: string;
  readonly action: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdinHex: string;
  readonly goShimStdoutHex: string;
}

const captured = (await Bun.file(join(import.meta.dir, "../../fixtures/shim-calls.json")).json()) as Captured[];
const starts = captured.filter(({ action, goShimStdoutHex }) => action === "start" && goShimStdoutHex !== "");
const { BootstrapParams } = containerd.runtime.bootstrap.v1;

/** What the kit would have been told for a call that was captured. */
function callOf({ argv, stdinHex }: Captured, bootstrap: boolean): StartCall {
  const flag = (name: string): string => argv[argv.indexOf(`-${name}`) + 1] ?? "";
  const stdin = Uint8Array.fromHex(stdinHex);
  const any = bootstrap ? BootstrapParams.decode(stdin).extensions[0]?.value : google.protobuf.Any.decode(stdin);
  const options = any?.type_url ? { type_url: any.type_url, value: any.value ?? new Uint8Array() } : undefined;
  return {
    id: flag("id"),
    namespace: flag("namespace"),
    address: flag("address"),
    publisher: flag("publish-binary"),
    options,
    debug: argv.includes("-debug"),
  };
}

const short = ({ containerd: version }: Captured): keyof typeof dialects =>
  version.slice(0, 3) as keyof typeof dialects;
const dialectOf = (call: Captured) => dialects[short(call) === ("2.1" as string) ? "2.0" : short(call)];

describe.each(starts.map((call) => [`${call.containerd} ${call.case}`, call] as const))("%s", (_, call) => {
  const dialect = dialectOf(call);
  const told = callOf(call, dialect.bootstrap);

  test("the environment is what that version adds", () => {
    expect(startEnvironment(dialect, told)).toEqual({ ...call.env });
  });

  test("stdin is what that version sends", () => {
    if (!dialect.bootstrap) {
      expect(startStdin(dialect, told).toHex()).toBe(call.stdinHex);
      return;
    }
    const theirs = BootstrapParams.decode(Uint8Array.fromHex(call.stdinHex));
    // The version ends in what our table of dialects has no place for.
    const ours = BootstrapParams.decode(startStdin(dialect, told));
    expect(theirs.containerdVersion).toStartWith(ours.containerdVersion);
    expect({ ...ours, containerdVersion: "" }).toEqual({ ...theirs, containerdVersion: "" });
  });

  test("the Go shim's answer is understood", () => {
    const { address, protocol } = readAnswer(dialect, Uint8Array.fromHex(call.goShimStdoutHex));
    expect(address).toMatch(/^unix:\/\/\/run\/containerd\/s\/[0-9a-f]{64}$/);
    expect(protocol).toBe("ttrpc");
  });
});

describe("readAnswer", () => {
  const read = (version: keyof typeof dialects, text: string) =>
    readAnswer(dialects[version], new TextEncoder().encode(text));

  test("a plain address does for every version", () => {
    for (const dialect of Object.values(dialects)) {
      const found = readAnswer(dialect, new TextEncoder().encode("unix:///run/containerd/s/abc"));
      expect(found).toEqual({ version: 2, address: "unix:///run/containerd/s/abc", protocol: "ttrpc", form: "plain" });
    }
  });

  test("1.6 knows no JSON, 1.7 no version 3, and nobody version 4", () => {
    const json = (version: number): string => JSON.stringify({ version, address: "unix:///x", protocol: "ttrpc" });
    expect(() => read("1.6", json(2))).toThrow("as containerd 1.6 reads it");
    expect(() => read("1.7", json(3))).toThrow("version 2; came back: version 3");
    expect(read("1.7", json(2)).form).toBe("json");
    expect(read("2.0", json(3)).version).toBe(3);
    expect(() => read("2.2", json(4))).toThrow("version 4");
    expect(() => read("2.4", json(1))).toThrow("version 1");
  });

  test("rubbish is none", () => {
    for (const text of ["", "\n", "warning: something\nunix:///x", "{", "{}"]) {
      expect(() => read("2.0", text)).toThrow();
      expect(() => read("2.4", text)).toThrow();
    }
  });
});

test("socketPath", () => {
  expect(socketPath("unix:///run/x")).toBe("/run/x");
  expect(socketPath("vsock://2:1024")).toBeUndefined();
  expect(socketPath("containerd-shim/x")).toBe("\0containerd-shim/x");
});
