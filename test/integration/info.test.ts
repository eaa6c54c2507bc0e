/** `-info` and `-v` (contract 1.4). */

import { describe, expect } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { containerd, runtimeoptions } from "../../proto/gen/shim.js";
import { FakeRunc, faults } from "../fault/fake-runc.ts";
import { runcFeatures } from "../lib/oci.ts";
import { anyBytes, type BinaryAnswer, callBinary, runcAny, type ShimRig, shimSuite } from "../lib/shim.ts";

const { RuntimeInfo, RuntimeRequest } = containerd.types;
const { test } = shimSuite();
const featuresType = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
const text = (bytes: Uint8Array | null | undefined): string => new TextDecoder().decode(bytes ?? new Uint8Array());
const utf8 = (string: string): Uint8Array => new TextEncoder().encode(string);

/** Calls `-info`, which must succeed in silence. */
async function info(rig: ShimRig, stdin?: Uint8Array): Promise<containerd.types.RuntimeInfo.$Properties> {
  const answer = await call(rig, stdin);
  expect(answer.stderr).toBe("");
  expect(answer.exitCode).toBe(0);
  return RuntimeInfo.decode(answer.stdout);
}

function call(rig: ShimRig, stdin?: Uint8Array): Promise<BinaryAnswer> {
  return callBinary({ argv: ["-info"], cwd: rig.dir, ...(stdin === undefined ? {} : { stdin }) });
}

function fakeRunc(rig: ShimRig): FakeRunc {
  return new FakeRunc(join(rig.dir, "fake"));
}

describe("-info", () => {
  test("IN-1 name, version and the features as runc prints them", async (rig) => {
    const answer = await info(rig);
    expect(answer.name).toBe("io.containerd.berth.v2");
    expect(answer.version?.version).toMatch(/^\d+\.\d+\.\d+/);
    expect(answer.features?.type_url ?? undefined).toBe(runcFeatures && featuresType);
    expect(answer.features ? text(answer.features.value) : undefined).toBe(runcFeatures);
  });

  test("IN-1 runtime options choose the runc that is asked, in every form that they come in", async (rig) => {
    const fake = fakeRunc(rig);
    fake.on("features", `echo '{"ociVersionMin":"fake"}'; exit 0`);
    const runc = runcAny({ binaryName: fake.path });
    const toml = (options: runtimeoptions.v1.Options.$Properties) => ({
      type_url: "runtimeoptions.v1.Options",
      value: runtimeoptions.v1.Options.encode(options).finish(),
    });
    const body = `BinaryName = ${JSON.stringify(fake.path)}\n`;
    const file = join(rig.dir, "info.toml");
    writeFileSync(file, body);
    const request = RuntimeRequest.encode({ runtimePath: "/usr/bin/containerd-shim-berth-v2", options: runc }).finish();
    const forms = [
      anyBytes(runc),
      anyBytes(toml({ configBody: utf8(body) })),
      anyBytes(toml({ configPath: file })),
      request,
    ];
    for (const form of forms) {
      const answer = await info(rig, form);
      expect(text(answer.features?.value)).toBe('{"ociVersionMin":"fake"}\n');
      expect(answer.options?.type_url).toMatch(/\.Options$/);
    }
    expect(fake.calls()).toEqual(forms.map(() => "features"));
  });

  test("IN-1 options of an unknown type are refused by name", async (rig) => {
    const answer = await call(rig, anyBytes({ type_url: "example.com/their.Options", value: utf8("x") }));
    expect(answer.exitCode).toBe(1);
    expect(answer.stderr).toMatch(/^[^\n]*their\.Options[^\n]*\n$/);
    expect(text(answer.stdout)).toBe("");
  });

  test("IN-1 rubbish on stdin is refused in one line", async (rig) => {
    const answer = await call(rig, new Uint8Array([0xff, 0xff, 0xff, 0xff]));
    expect(answer.exitCode).toBe(1);
    expect(answer.stderr).toMatch(/^[^\n]+\n$/);
  });

  test("IN-3 a runc that is missing, or too old to know its features: an answer without them", async (rig) => {
    const fake = fakeRunc(rig);
    fake.on("features", "echo 'No help topic for features' >&2; exit 3");
    for (const binaryName of [fake.path, join(rig.dir, "no-runc")]) {
      const answer = await info(rig, anyBytes(runcAny({ binaryName })));
      expect(answer.name).toBe("io.containerd.berth.v2");
      expect(answer.features ?? null).toBeNull();
    }
  });

  test("IN-3 INV-7 a runc that hangs costs the features, not the answer", async (rig) => {
    const fake = fakeRunc(rig);
    fake.on("features", faults.hangInChild);
    const env = { PATH: process.env["PATH"] ?? "", BERTH_RUNC_TIMEOUT: "0.3" };
    const stdin = anyBytes(runcAny({ binaryName: fake.path }));
    const answer = await callBinary({ argv: ["-info"], cwd: rig.dir, stdin, env });
    expect(answer.exitCode).toBe(0);
    expect(answer.ms).toBeLessThan(5_000);
    expect(RuntimeInfo.decode(answer.stdout).features ?? null).toBeNull();
  });
});

describe("-v", () => {
  test("IN-4 text for a person, with no namespace", async (rig) => {
    const wanted = JSON.parse(readFileSync(join(import.meta.dir, "../../package.json"), "utf8")) as { version: string };
    for (const flag of ["-v", "-version", "--version"]) {
      const answer = await callBinary({ argv: [flag], cwd: rig.dir });
      expect(answer.exitCode).toBe(0);
      expect(answer.stderr).toBe("");
      expect(text(answer.stdout)).toContain(`Version:  ${wanted.version}`);
    }
  });
});
