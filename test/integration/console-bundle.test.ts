/** Terminals of a container whose bundle has a path that no socket could have (contract 1.12 IO-7, BN-2). */

import { expect } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Fifos } from "../lib/fifo.ts";
import { processSpec, shimSuite } from "../lib/shim.ts";

const suite = shimSuite();

suite.test("IO-7 a bundle path of more than 108 bytes: terminals of init and of an exec", async (rig) => {
  const id = rig.id();
  const path = join(rig.dir, "bundles", "x".repeat(120), "y".repeat(120), id);
  const script = "stty size; sleep 1000";
  const bundle = await rig.bundleAt(path, { args: ["sh", "-c", script], terminal: true }, id);
  const shim = await rig.start(bundle);
  const fifos = await Fifos.make();
  const [out, exec] = [fifos.read(), fifos.read(["cat"], fifos.stderr)];
  await shim.create({ stdout: fifos.stdout, terminal: true });
  await shim.task.resizePty(id, 111, 22);
  await shim.task.start(id);
  await shim.task.exec(id, "x", processSpec(["sh", "-c", "test -t 0 && echo tty"], true), {
    stdout: fifos.stderr,
    terminal: true,
  });
  await shim.task.start(id, "x");
  expect(await shim.task.wait(id, "x")).toMatchObject({ exitStatus: 0 });
  await shim.task.delete(id, "x");
  expect(await exec.end()).toBe("tty\r\n");
  expect(readdirSync(path).filter((name) => name.includes("console"))).toEqual([]);
  await shim.killInit();
  await shim.task.delete(id);
  expect(await out.end()).toBe("22 111\r\n");
  await fifos.remove();
});
