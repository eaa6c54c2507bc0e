/** berth cp and commit on berthd: hostile containers, running and stopped. */

import { expect } from "bun:test";
import { existsSync, lstatSync, mkdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Berthd } from "../lib/berthd.ts";
import { builtBerth, Cli } from "../lib/cli.ts";
import { imageName } from "../lib/image.ts";
import { containerSuite } from "../lib/suite.ts";

const suite = containerSuite({}, (dir, namespace, options) => new Berthd(dir, namespace, options));
const alone = ["--network", "none"];

suite.test("files go into and out of a container that runs, and of one that does not", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  const here = join(daemon.dir, "files");
  mkdirSync(join(here, "d/sub"), { recursive: true });
  writeFileSync(join(here, "d/f"), "content");
  writeFileSync(join(here, "d/sub/.wh.x"), "no whiteout");
  symlinkSync("f", join(here, "d/link"));
  await cli.must("run", "-d", ...alone, "--name", name, imageName, "sleep", "1000");
  for (const state of ["running", "stopped"]) {
    await cli.must("cp", join(here, "d"), `${name}:/tmp/${state}`);
    await cli.must("cp", join(here, "d/f"), `${name}:/tmp/${state}/`);
    await cli.must("cp", `${name}:/tmp/${state}/.`, join(here, state));
    expect(readFileSync(join(here, state, "f"), "utf8")).toBe("content");
    expect(readFileSync(join(here, state, "sub/.wh.x"), "utf8")).toBe("no whiteout");
    expect(readlinkSync(join(here, state, "link"))).toBe("f");
    // As an archive, out of one place and into another.
    const read = Bun.spawn([builtBerth, "cp", `${name}:/tmp/${state}`, "-"], {
      env: cli.env,
      stdout: "pipe",
      stderr: "pipe",
    });
    const archive = await read.stdout.bytes();
    expect(await read.exited).toBe(0);
    const write = Bun.spawn([builtBerth, "cp", "-", `${name}:/var`], { env: cli.env, stdin: archive, stderr: "pipe" });
    expect([await write.stderr.text(), await write.exited]).toEqual(["", 0]);
    await cli.must("cp", `${name}:/var/${state}/f`, join(here, `${state}.again`));
    expect(readFileSync(join(here, `${state}.again`), "utf8")).toBe("content");
    const missing = await cli.run(["cp", `${name}:/nosuch`, here]);
    expect([missing.exitCode, missing.stderr]).toEqual([1, expect.stringContaining("there is no /nosuch")]);
    if (state === "running") await cli.must("stop", "-t", "0", name);
  }
  await cli.must("rm", name);
});

suite.test("no link of a container leads out of it, whichever way is copied", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  const outside = join(daemon.dir, "outside");
  mkdirSync(outside);
  writeFileSync(join(outside, "secret"), "host");
  const script = `mkdir -p /evil /up; ln -s ${outside} /evil/out; ln -s ../../../../../../../..${outside}/secret /evil/rel
    ln -s / /evil/root; echo x > /evil/s; chmod 4755 /evil/s; sleep 1000`;
  await cli.must("run", "-d", ...alone, "--name", name, imageName, "sh", "-c", script);
  await cli.run(["exec", name, "sh", "-c", "until [ -u /evil/s ]; do sleep 0.05; done"], { check: true });
  writeFileSync(join(daemon.dir, "payload"), "payload");
  // Into: the directory that the link names is not there for the container.
  expect((await cli.run(["cp", join(daemon.dir, "payload"), `${name}:/evil/out/secret`])).exitCode).toBe(1);
  await cli.must("cp", join(daemon.dir, "payload"), `${name}:/evil/root/up/`);
  expect((await cli.run(["exec", name, "cat", "/up/payload"])).stdout).toBe("payload");
  // Out: followed, the links find nothing; as they are, they are links.
  for (const link of ["rel", "out/secret"]) {
    const target = join(daemon.dir, "stolen");
    expect((await cli.run(["cp", "-L", `${name}:/evil/${link}`, target])).exitCode).toBe(1);
    expect(existsSync(target)).toBe(false);
  }
  await cli.must("cp", `${name}:/evil`, join(daemon.dir, "copied"));
  expect(readlinkSync(join(daemon.dir, "copied/out"))).toBe(outside);
  // Rights that a container gave do not come along.
  expect(lstatSync(join(daemon.dir, "copied/s")).mode & 0o7777).toBe(0o755);
  // A second copy over what the first has made does not go through its links.
  await cli.run(["exec", name, "sh", "-c", "rm /evil/out && mkdir /evil/out && echo changed > /evil/out/secret"], {
    check: true,
  });
  await cli.must("cp", `${name}:/evil/.`, join(daemon.dir, "copied"));
  expect(readFileSync(join(outside, "secret"), "utf8")).toBe("host");
  expect(readFileSync(join(daemon.dir, "copied/out/secret"), "utf8")).toBe("changed\n");
  await cli.must("rm", "-f", name);
});

suite.test("commit makes an image of what a container has changed", async ({ daemon, id }) => {
  const cli = new Cli(daemon);
  const name = id();
  const script = "echo mine > /made; rm /etc/group; sleep 1000";
  await cli.must("run", "-d", ...alone, "--name", name, imageName, "sh", "-c", script);
  await cli.run(["exec", name, "sh", "-c", "until [ ! -e /etc/group ]; do sleep 0.05; done"], { check: true });
  const digest = await cli.must("commit", "-m", "why", "-c", 'CMD ["cat", "/made"]', name, "made:1");
  expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
  // It was paused, and goes on.
  expect(await cli.must("ps", "--format", "{{.State}}")).toBe("running");
  expect((await cli.run(["run", "--rm", ...alone, "--name", id(), "made:1"])).stdout).toBe("mine\n");
  const gone = await cli.run(["run", "--rm", ...alone, "--name", id(), "made:1", "test", "-e", "/etc/group"]);
  expect(gone.exitCode).toBe(1);
  expect(await cli.must("history", "--format", "{{.Comment}}", "made:1")).toMatch(/^why/);
  expect((await cli.run(["commit", "nosuch", "x:1"])).exitCode).toBe(1);
  await cli.must("rm", "-f", name);
  await cli.must("rmi", "made:1");
});
