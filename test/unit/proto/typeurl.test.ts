import { expect, test } from "bun:test";
import { google } from "../../../proto/gen/shim.js";
import { jsonTypes, packAny, typeName } from "../../../proto/typeurl.ts";

test.each([
  ["containerd.events.TaskStart", "containerd.events.TaskStart"],
  ["type.googleapis.com/containerd.events.TaskStart", "containerd.events.TaskStart"],
  [
    "types.containerd.io/opencontainers/runtime-spec/1/Process",
    "types.containerd.io/opencontainers/runtime-spec/1/Process",
  ],
  ["other.host/containerd.events.TaskStart", "other.host/containerd.events.TaskStart"],
  ["", ""],
])("the name in %j", (url, name) => {
  expect(typeName({ type_url: url })).toBe(name);
});

test("an Any without a type has no name", () => {
  expect(typeName({})).toBe("");
  expect(typeName({ type_url: null })).toBe("");
});

test("T-STS-1 what is packed has the bare name on the wire", () => {
  const value = new Uint8Array([1, 2, 3]);
  const wire = google.protobuf.Any.encode(packAny("io.containerd.cgroups.v1.Metrics", value)).finish();
  expect(new TextDecoder("latin1").decode(wire)).toBe("\n io.containerd.cgroups.v1.Metrics\x12\x03\x01\x02\x03");
});

test("T-EXE-1 the JSON types are containerd's", () => {
  expect(jsonTypes).toEqual({
    process: "types.containerd.io/opencontainers/runtime-spec/1/Process",
    linuxResources: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
    features: "types.containerd.io/opencontainers/runtime-spec/1/features/Features",
  });
});
