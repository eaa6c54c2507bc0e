/** berth's verbs of images on berthd, with Debian's registry on loopback. */

import { afterAll, beforeAll, expect } from "bun:test";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Berthd } from "../lib/berthd.ts";
import { builtBerth, Cli } from "../lib/cli.ts";
import { FakeRegistry } from "../lib/fake-registry.ts";
import { imageName, writeImageArchive } from "../lib/image.ts";
import { Registry } from "../lib/registry.ts";
import { processScope } from "../lib/scope.ts";
import { containerSuite } from "../lib/suite.ts";

let registry: Registry | undefined;
let noRegistry: string | undefined = "the registry was not started";

beforeAll(async () => {
  registry = new Registry(join(processScope().dir, "registry"));
  noRegistry = await registry.start();
  if (noRegistry !== undefined) throw new Error(noRegistry);
}, 130_000);
afterAll(() => registry?.stop());
// After the registry: its end comes after the registry's, and looks for what is left.
const suite = containerSuite({}, (dir, namespace, options) => new Berthd(dir, namespace, options));

/** What `images` tells programs, by name. */
async function imagesOf(cli: Cli): Promise<Map<string, Record<string, unknown>>> {
  const lines = (await cli.must("images", "--format", "json")).split("\n").filter((line) => line !== "");
  return new Map(
    lines.map((line) => JSON.parse(line) as Record<string, unknown>).map((item) => [String(item["Name"]), item]),
  );
}

/** Removes every image but the one of the suite. */
async function clean(cli: Cli): Promise<void> {
  for (const name of (await imagesOf(cli)).keys()) if (name !== imageName) await cli.must("rmi", "-f", name);
}

suite.test("an image goes to a registry and comes back, under its names", async ({ daemon }) => {
  const cli = new Cli(daemon);
  const name = `${registry?.host}/team/app:v1`;
  await cli.must("tag", imageName, name);
  const pushed = await cli.run(["push", name], { check: true });
  expect(pushed.stdout).toMatch(/digest: sha256:[0-9a-f]{64} size: \d+/);
  // No terminal: plain lines, on standard error.
  expect(pushed.stderr).toMatch(/^[0-9a-f]{12}: (Complete|Already exists)$/m);
  expect(pushed.stderr).not.toContain("\x1b");
  await cli.must("rmi", name);
  expect([...(await imagesOf(cli)).keys()]).toEqual([imageName]);
  expect(await cli.must("pull", name)).toContain(`Status: Downloaded newer image for ${name}`);
  expect(await cli.must("pull", name)).toContain(`Status: Image is up to date for ${name}`);
  expect(await cli.must("pull", "-q", name)).toBe(name);
  const item = (await imagesOf(cli)).get(name);
  expect(item).toMatchObject({ Repository: `${registry?.host}/team/app`, Tag: "v1", Pinned: false });
  expect(await cli.must("images", "-q", "--no-trunc", name)).toBe(String(item?.["ID"]));
  expect(await cli.must("images", "--format", "{{.Repository}} {{.Tag}}", name)).toBe(`${registry?.host}/team/app v1`);
  const [inspected] = JSON.parse(await cli.must("image", "inspect", name));
  expect(inspected).toMatchObject({ Os: "linux", Config: { Cmd: ["/bin/sh"] }, RepoTags: [name, imageName] });
  expect(await cli.must("history", "--format", "{{.CreatedBy}}", name)).toContain("busybox");
  const missing = await cli.run(["pull", `${registry?.host}/team/nosuch:1`]);
  expect([missing.exitCode, missing.stderr]).toEqual([1, expect.stringContaining("check the name and the tag")]);
  await clean(cli);
});

suite.test("several images go through one archive, by file and by pipe", async ({ daemon }) => {
  const cli = new Cli(daemon);
  await cli.must("tag", imageName, "one:1");
  await cli.must("tag", imageName, "two:2");
  const archive = join(daemon.dir, "both.tar");
  await cli.must("save", "-o", archive, "one:1", "two:2");
  await clean(cli);
  expect((await cli.must("load", "-i", archive)).split("\n").sort()).toEqual([
    "Loaded image: docker.io/library/one:1",
    "Loaded image: docker.io/library/two:2",
  ]);
  await clean(cli);
  const piped = Bun.spawn([builtBerth, "load", "-q"], {
    env: cli.env,
    stdin: Bun.file(archive),
    stdout: "pipe",
    stderr: "pipe",
  });
  expect((await piped.stdout.text()).split("\n").filter(Boolean).sort()).toEqual([
    "docker.io/library/one:1",
    "docker.io/library/two:2",
  ]);
  expect(await piped.exited).toBe(0);
  // An archive that breaks off leaves no image, and says so; a file that cannot be written leaves none either.
  await clean(cli);
  const torn = join(daemon.dir, "torn.tar");
  writeFileSync(torn, readFileSync(archive).subarray(0, statSync(archive).size / 2));
  const failed = await cli.run(["load", "-i", torn]);
  expect(failed.exitCode).toBe(1);
  expect(failed.stderr).toContain("berth load: ");
  expect([...(await imagesOf(cli)).keys()]).toEqual([imageName]);
  expect((await cli.run(["save", "-o", join(daemon.dir, "no.tar"), "nosuch"])).exitCode).toBe(1);
  expect(existsSync(join(daemon.dir, "no.tar"))).toBe(false);
});

suite.test(
  "an image in use is not removed, a pinned one is not pruned, and what goes is said",
  async ({ daemon, id }) => {
    const cli = new Cli(daemon);
    const name = id();
    await cli.must("tag", imageName, "used:1");
    await cli.must("tag", imageName, "kept:1");
    await cli.must("tag", imageName, "free:1");
    await cli.must("create", "--network", "none", "--name", name, "used:1", "true");
    const refused = await cli.run(["rmi", "used:1"]);
    expect([refused.exitCode, refused.stderr]).toEqual([
      1,
      expect.stringContaining(`is used by the container ${name}`),
    ]);
    await cli.must("pin", "kept:1");
    expect((await imagesOf(cli)).get("docker.io/library/kept:1")).toMatchObject({ Pinned: true });
    // The suite's own image must outlive this.
    await cli.must("pin", imageName);
    const asked = await cli.run(["image", "prune", "-a"]);
    expect([asked.exitCode, asked.stderr]).toEqual([1, expect.stringContaining("image docker.io/library/free:1")]);
    expect((await imagesOf(cli)).has("docker.io/library/free:1")).toBe(true);
    await cli.must("image", "prune", "-a", "-f");
    expect([...(await imagesOf(cli)).keys()].sort()).toEqual([
      "docker.io/library/kept:1",
      "docker.io/library/used:1",
      imageName,
    ]);
    await cli.must("rmi", "-f", "used:1");
    await cli.must("rm", name);
    await cli.must("unpin", "kept:1");
    await cli.must("unpin", imageName);
    await clean(cli);
  },
);

suite.test("credentials that login keeps are what pull shows; wrong ones are not kept", async ({ daemon }) => {
  const cli = new Cli(daemon);
  const fake = new FakeRegistry({ auth: "basic", username: "me", password: "secret" });
  try {
    const config = join(daemon.dir, "docker-config");
    const env = { DOCKER_CONFIG: config };
    const wrong = await cli.run(["login", "-u", "me", "-p", "no", fake.host], { env });
    expect([wrong.exitCode, existsSync(join(config, "config.json"))]).toEqual([1, false]);
    const denied = await cli.run(["push", imageName, `${fake.host}/app:1`], { env });
    expect([denied.exitCode, denied.stderr]).toEqual([1, expect.stringContaining(`berth login ${fake.host}`)]);
    await cli.run(["login", "-u", "me", "--password-stdin", fake.host], { env, stdin: "secret\n", check: true });
    await cli.run(["push", imageName, `${fake.host}/app:1`], { env, check: true });
    await cli.run(["pull", "-u", "me:secret", `${fake.host}/app:1`], {
      env: { DOCKER_CONFIG: "/nonexistent" },
      check: true,
    });
    await cli.run(["logout", fake.host], { env, check: true });
    expect(readFileSync(join(config, "config.json"), "utf8")).not.toContain(fake.host);
  } finally {
    fake.stop();
    await clean(cli);
  }
});

suite.test("a terminal shows bars, and is left as it was", async ({ daemon }) => {
  const cli = new Cli(daemon);
  const archive = join(daemon.dir, "bars.tar");
  writeImageArchive(archive);
  const screen = cli.screen(["load", "-i", archive], { rows: 24, cols: 80 });
  expect(await screen.exited).toBe(0);
  expect(screen.text).toContain("archive: Complete");
  expect(screen.text).toContain(`Loaded image: ${imageName}`);
  expect(screen.text.lastIndexOf("\x1b[?25h")).toBeGreaterThan(screen.text.lastIndexOf("\x1b[?25l"));
});
