/** Which program serves a runtime (INV-1). */

import { expect, test } from "bun:test";
import { Programs, shimName } from "../../../../supervisor/task/program.ts";

test("the name is made of the last two parts", () => {
  expect(shimName("io.containerd.runsc.v1")).toBe("containerd-shim-runsc-v1");
  expect(shimName("a.b")).toBe("containerd-shim-a-b");
  expect(shimName("nope")).toBeUndefined();
  expect(shimName(".v2")).toBeUndefined();
});

test("runc.v2 and berth.v2 are our own shim", () => {
  const programs = new Programs();
  for (const name of ["io.containerd.runc.v2", "io.containerd.berth.v2"]) {
    expect(programs.resolve(name)).toBe(programs.own);
  }
});

test("the configuration names another program", () => {
  const programs = new Programs(new Map([["io.containerd.runc.v2", "/bin/true"]]));
  expect(programs.resolve("io.containerd.runc.v2")).toEqual({
    path: "/bin/true",
    command: ["/bin/true"],
    isOwn: false,
  });
  expect(programs.resolve("io.containerd.berth.v2")).toBe(programs.own);
});

test("an absolute path is taken as it is, when it is there", () => {
  const programs = new Programs();
  expect(programs.resolve("/bin/true")).toMatchObject({ command: ["/bin/true"], isOwn: false });
  expect(() => programs.resolve("/nope/x")).toThrow(
    "failed to resolve runtime path: invalid custom binary path: stat /nope/x: no such file or directory",
  );
});

test("what cannot be resolved is refused in containerd's words", () => {
  const programs = new Programs();
  const format =
    "correct runtime name should be either format like `io.containerd.runc.v2` or a full path to the binary";
  for (const name of ["nope/x", "../x.y", "nope", ""]) {
    expect(() => programs.resolve(name)).toThrow(
      `failed to resolve runtime path: invalid runtime name ${name}, ${format}`,
    );
  }
  expect(() => programs.resolve("io.containerd.nope.v2")).toThrow(
    'runtime "io.containerd.nope.v2" binary not installed "containerd-shim-nope-v2": file does not exist',
  );
});

test("a bundle's program is ours under its name, wherever an upgrade has put it", () => {
  const programs = new Programs();
  expect(programs.restore("/old/place/containerd-shim-berth-v2")).toBe(programs.own);
  expect(programs.restore("/bin/true")).toMatchObject({ path: "/bin/true" });
  expect(programs.restore("/gone/containerd-shim-x-v2")).toBeUndefined();
  expect(programs.restore("relative")).toBeUndefined();
});
