import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { containerd } from "../../../proto/gen/shim.js";
import { readRuntimeOptions } from "../../conformance/rig/subject.ts";
import { bytesField, concat } from "../../conformance/rig/wire.ts";

const dir = mkdtempSync(join(tmpdir(), "conformance-options-"));
afterAll(() => rmSync(dir, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
}

describe("readRuntimeOptions", () => {
  test("without a file, runc's, with the runc that was named", () => {
    const { type_url, value } = readRuntimeOptions(undefined, "/r");
    expect(type_url).toBe("containerd.runc.v1.Options");
    expect(containerd.runc.v1.Options.decode(value).binaryName).toBe("/r");
  });

  test("JSON with fields of runc's", () => {
    const { value } = readRuntimeOptions(file("runc.json", '{ "systemd_cgroup": true }'), undefined);
    expect(containerd.runc.v1.Options.decode(value).systemdCgroup).toBe(true);
    expect(() => readRuntimeOptions(file("no.json", '{ "nosuch": 1 }'), undefined)).toThrow("no field nosuch");
  });

  test("JSON with fields of generic options; a path is taken from where the file lies", () => {
    const path = file("generic.json", '{ "type_url": "t", "config_path": "x.toml" }');
    expect(readRuntimeOptions(path, "/r")).toEqual({
      type_url: "runtimeoptions.v1.Options",
      value: concat(bytesField(1, "t"), bytesField(2, join(dir, "x.toml"))),
    });
    const mixed = file("mixed.json", '{ "type_url": "t", "root": "/x" }');
    expect(() => readRuntimeOptions(mixed, undefined)).toThrow("no field root");
  });

  test("a serialized Any", () => {
    const value = new Uint8Array([8, 1]);
    const path = file("any", concat(bytesField(1, "a.B"), bytesField(2, value)));
    expect(readRuntimeOptions(path, undefined)).toEqual({ type_url: "a.B", value });
    expect(() => readRuntimeOptions(file("none", new Uint8Array([0xff])), undefined)).toThrow("neither JSON nor");
  });
});
