/** Mounts with a target below the root, which containerd knows from 2.0 on: asked of the shim directly (contract 1.14). */

import { expect } from "bun:test";
import { existsSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { Code, TtrpcError } from "../../proto/ttrpc/index.ts";
import { type Shim, shimSuite } from "../lib/shim.ts";

const suite = shimSuite();

/** How many mounts there are at and below a path. */
function mountsOf(path: string): number {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return lines.filter((line) => `${line.split(" ")[4]}/`.startsWith(`${path}/`)).length;
}

/** Creates the shim's container with a further mount on a target. */
async function createWith(shim: Shim, target: string, source: string): Promise<void> {
  const request = shim.createRequest();
  const more = { type: "bind", source, target, options: ["rbind", "rw"] };
  await shim.task.create({ ...request, rootfs: [...(request.rootfs ?? []), more] });
}

suite.test("UN-1 a mount's target lies below the root, and goes with it", async (rig) => {
  const source = join(rig.dir, "data");
  mkdirSync(join(source, "inside"), { recursive: true });
  const shim = await rig.start(await rig.bundle({ args: ["sh", "-c", "test -d /data/inside"] }));
  await createWith(shim, "data", source);
  await shim.task.start(shim.id);
  expect(await shim.task.wait(shim.id)).toMatchObject({ exitStatus: 0 });
  await shim.task.delete(shim.id);
  expect(mountsOf(shim.bundle.path)).toBe(0);
});

suite.test("UN-1 a target that leaves the root is refused, and nothing is left", async (rig) => {
  const outside = join(rig.dir, "outside");
  mkdirSync(outside);
  for (const target of ["../up", "a/../../up", "/.."]) {
    const shim = await rig.start(await rig.bundle());
    const error = await createWith(shim, target, outside).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (!(error instanceof TtrpcError)) throw error ?? new Error(`${target} was mounted`);
    expect(error.code).toBe(Code.InvalidArgument);
    expect(error.message).toContain(target);
    expect(mountsOf(shim.bundle.path)).toBe(0);
  }
});

suite.test("UN-1 a link of the image leads no mount out of the root", async (rig) => {
  const outside = join(rig.dir, "elsewhere");
  mkdirSync(outside);
  symlinkSync(outside, join(rig.root, "way-out"));
  symlinkSync("../../../../../../../../../..", join(rig.root, "way-up"));
  for (const target of ["way-out/in", `way-up${outside}/in`]) {
    const shim = await rig.start(await rig.bundle({ args: ["sh", "-c", `test -d ${outside}/in`] }));
    // As the container sees it, the link leads to a directory of its own.
    await createWith(shim, target, outside);
    expect(existsSync(join(outside, "in"))).toBe(false);
    expect(mountsOf(outside)).toBe(0);
    await shim.task.start(shim.id);
    expect(await shim.task.wait(shim.id)).toMatchObject({ exitStatus: 0 });
    await shim.task.delete(shim.id);
    expect(mountsOf(shim.bundle.path)).toBe(0);
  }
});
