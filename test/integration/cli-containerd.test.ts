/** berth's verbs of containers on a real containerd, with its own shim: what needs nothing of berthd's own. */

import { expect } from "bun:test";
import { Cli } from "../lib/cli.ts";
import { Daemon } from "../lib/daemon.ts";
import { imageName } from "../lib/image.ts";
import { containerSuite } from "../lib/suite.ts";
import { waitFor } from "../lib/wait.ts";

const suite = containerSuite({}, (dir, namespace, options) => new Daemon(dir, namespace, options));
const alone = ["--network", "none"];

suite.test("on containerd: run, and its statuses", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const run = (...args: string[]) => cli.run(["run", "--rm", ...alone, "--name", id(), ...args]);
  const result = await run("-u", "user", "-m", "64m", imageName, "sh", "-c", "id -u; echo err >&2; exit 7");
  expect([result.stdout, result.stderr, result.exitCode]).toEqual(["1000\n", "err\n", 7]);
  expect((await run(imageName, "nosuch")).exitCode).toBe(127);
  expect((await run(imageName, "/etc")).exitCode).toBe(126);
  expect(
    (await cli.run(["run", "--rm", "-i", ...alone, "--name", id(), imageName, "cat"], { stdin: "in" })).stdout,
  ).toBe("in");
  expect(await cli.must("ps", "-aq")).toBe("");
});

suite.test("on containerd: the life of a container in the background", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  const script = "trap 'exit 5' TERM; while true; do sleep 0.1; done";
  await cli.must("run", "-d", ...alone, "--name", name, "-v", "data:/data", imageName, "sh", "-c", script);
  expect(await cli.must("ps", "--format", "{{.Names}} {{.State}}")).toBe(`${name} running`);
  const exec = await cli.run(["exec", "-u", "user", name, "sh", "-c", "id -u; exit 3"]);
  expect([exec.stdout, exec.exitCode]).toEqual(["1000\n", 3]);
  await cli.must("pause", name);
  await cli.must("unpause", name);
  await cli.must("update", "--memory", "32m", name);
  await cli.must("stop", name);
  expect(await cli.must("wait", name)).toBe("5");
  await cli.must("start", name);
  await cli.must("kill", name);
  await waitFor("its end", async () => (await cli.must("ps", "-a", "--format", "{{.State}}")) === "exited");
  await cli.must("rm", name);
  await cli.must("volume", "rm", "data");
});

suite.test("on containerd: a terminal", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const screen = cli.screen(["run", "-it", "--rm", ...alone, "--name", id(), imageName, "sh"]);
  await screen.type("", /# /);
  await screen.repeat("stty size\r", /24 80/);
  await screen.type("exit 4\r");
  expect(await screen.exited).toBe(4);
});

suite.test("on containerd: what needs berthd, or a newer containerd, says so", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const detached = await cli.run(["run", "-d", "--rm", ...alone, "--name", id(), imageName, "true"]);
  expect([detached.exitCode, detached.stderr.includes("needs berthd")]).toEqual([125, true]);
  const pulled = await cli.run(["run", ...alone, "--name", id(), "localhost:1/nosuch:1", "true"]);
  expect(pulled.exitCode).toBe(125);
  // containerd before 1.7 cannot be asked to pull; a newer one says why it could not.
  expect(pulled.stderr).toMatch(/ctr --namespace \S+ images pull localhost:1\/nosuch:1|connection refused/);
});
