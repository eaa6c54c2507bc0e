/** `berth check --repair`: what is damaged is fetched or unpacked again, with the daemon and without, and told. */

import { afterEach, expect } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Berthd, builtBerthd } from "../lib/berthd.ts";
import { type Result, run } from "../lib/command.ts";
import { FakeRegistry } from "../lib/fake-registry.ts";
import { makeImage, writeImageArchive } from "../lib/image.ts";
import { dist, runtime } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { waitFor } from "../lib/wait.ts";

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  return existsSync(builtBerthd) ? undefined : "berthd is not built";
}

let count = 0;
const open: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

/** A registry with one image of three blobs. */
function publish() {
  const registry = new FakeRegistry();
  open.push(() => registry.stop());
  const { layer, config } = makeImage();
  const manifest = registry.manifest("team/app", "1", {
    schemaVersion: 2,
    config: registry.blob(config.body, config.mediaType),
    layers: [registry.blob(layer.body, layer.mediaType)],
  });
  const digests = { layer: layer.digest, config: config.digest, manifest: manifest.digest };
  return { registry, name: `${registry.host}/team/app:1`, digests };
}

/** A daemon that has pulled the image. @param config of its file */
async function start(name: string, config = ""): Promise<Berthd> {
  const { dir, token } = processScope();
  const file = join(dir, `r${++count}.toml`);
  writeFileSync(file, config);
  const made = new Berthd(join(dir, `r${count}`), `${token}-r${count}`, { env: { BERTH_CONFIG: file } });
  open.push(async () => {
    await made.stop();
    made.remove();
  });
  await made.start();
  await made.ctr(["images", "pull", "--plain-http", "--snapshotter", made.snapshotter, name], { check: true });
  return made;
}

function check(made: Berthd, ...flags: string[]): Promise<Result> {
  const place = ["--root", made.root, "--state", made.state, "--address", made.address];
  return run([join(dist, "berth"), "check", ...place, ...flags], { timeout: 60_000 });
}

function fileOf(made: Berthd, digest: string): string {
  return join(made.root, "io.containerd.content.v1.content/blobs/sha256", digest.slice("sha256:".length));
}

/** Changes a byte in the middle, and nothing else. */
function corrupt(path: string): void {
  const bytes = readFileSync(path);
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] ?? 0) ^ 0xff;
  chmodSync(path, 0o644);
  writeFileSync(path, bytes);
}

/** Damages every blob of the image in another way. */
function damage(made: Berthd, digests: ReturnType<typeof publish>["digests"]): void {
  corrupt(fileOf(made, digests.layer));
  rmSync(fileOf(made, digests.config));
  chmodSync(fileOf(made, digests.manifest), 0o644);
  writeFileSync(fileOf(made, digests.manifest), "");
}

function expectRepaired(
  { stdout, exitCode }: Result,
  digests: ReturnType<typeof publish>["digests"],
  host: string,
): void {
  for (const digest of Object.values(digests)) {
    expect(stdout).toMatch(
      new RegExp(`^repaired: content \\S*${digest}: .*; ${digest} was fetched again from ${host}/team/app$`, "m"),
    );
  }
  expect(stdout).toEndWith("3 repaired, 0 left\n");
  expect(exitCode).toBe(0);
}

testUnless(
  whyNot(),
  "R25: blobs that are changed, missing and cut off are fetched again, without a daemon",
  async () => {
    const { registry, name, digests } = publish();
    const made = await start(name);
    await made.stop();
    damage(made, digests);
    expect((await check(made, "--verify")).exitCode).toBe(1);
    expectRepaired(await check(made, "--verify", "--repair"), digests, registry.host);
    expect((await check(made, "--verify")).stdout).toContain("nothing wrong");
    expect((await check(made, "--verify", "--repair")).stdout).toBe("nothing wrong\n");
    await made.start();
    expect((await made.ctr(["content", "get", digests.config], { check: true })).stdout).toContain("rootfs");
  },
  60_000,
);

testUnless(
  whyNot(),
  "R25: the same by the daemon that runs; what cannot be fetched is left, with what to do",
  async () => {
    const { registry, name, digests } = publish();
    // Nothing is done in the background: this is about what is asked for.
    const made = await start(name, "[registry]\nrepair = false\n");
    damage(made, digests);
    registry.faults.push(() => new Response("", { status: 404 }));
    const failed = await check(made, "--verify", "--repair");
    expect(failed.exitCode).toBe(1);
    expect(failed.stdout).toEndWith("\n0 repaired, 3 left\n");
    expect(failed.stdout).toMatch(
      /^left: content \S+: .*; it could not be fetched \(.*not found.*\): try again when the registry answers, or import its image again$/m,
    );
    expect((await made.ctr(["content", "get", digests.layer])).exitCode).not.toBe(0);
    registry.faults.length = 0;
    expectRepaired(await check(made, "--verify", "--repair"), digests, registry.host);
    expect((await check(made, "--verify")).stdout).toContain("nothing wrong");
  },
  60_000,
);

testUnless(
  whyNot(),
  "R25: a blob found damaged at its first use after a power cut is fetched again by itself",
  async () => {
    const { registry, name, digests } = publish();
    const made = await start(name);
    await made.kill();
    corrupt(fileOf(made, digests.layer));
    const before = registry.asked.length;
    await made.start();
    expect(registry.asked.length).toBe(before);
    await made.ctr(["content", "get", digests.layer]);
    await waitFor("the blob", async () => (await made.ctr(["content", "get", digests.layer])).exitCode === 0 && true);
    expect(made.log()).toContain("a damaged blob is repaired");
    expect((await check(made, "--verify")).stdout).toContain("nothing wrong");
  },
  60_000,
);

testUnless(
  whyNot(),
  "R25: a damaged layer is unpacked anew from its blob where no container stands on it, and left where one does",
  async () => {
    const { registry, name, digests } = publish();
    const made = await start(name);
    registry.faults.push(() => new Response("", { status: 500 }));
    const layers = join(made.root, `io.containerd.snapshotter.v1.${made.snapshotter}`, "snapshots");
    const { stdout } = await made.ctr(["snapshots", "ls"], { check: true });
    expect(stdout).toContain(digests.layer);
    const layer = (): string => {
      const found = readdirSync(layers).find((id) => existsSync(join(layers, id, "fs/bin/busybox")));
      return join(layers, found ?? "none");
    };
    rmSync(layer(), { recursive: true });
    expect((await check(made)).exitCode).toBe(1);
    const repaired = await check(made, "--repair");
    expect(repaired.stdout).toMatch(
      /^repaired: snapshot .*; 1 damaged layer was removed; image \S+: all of its blobs were there, unpacked anew with \w+$/m,
    );
    expect(repaired.exitCode).toBe(0);
    expect(existsSync(layer())).toBe(true);
    const ran = await made.ctr([
      "run",
      "--rm",
      "--runtime",
      runtime,
      "--fifo-dir",
      made.fifoDir,
      name,
      "x1",
      "echo",
      "hello",
    ]);
    expect(ran.stdout).toBe("hello\n");

    await made.ctr(["containers", "create", "--runtime", runtime, name, "x2", "true"], { check: true });
    rmSync(layer(), { recursive: true });
    const left = await check(made, "--repair");
    expect(left.exitCode).toBe(1);
    expect(left.stdout).toMatch(
      /^left: snapshot .*; container \S+\/x2 stands on it: remove the container, repair, and make it anew from its image$/m,
    );
    await made.ctr(["containers", "rm", "x2"], { check: true });
    expect((await check(made, "--repair")).exitCode).toBe(0);
    expect((await check(made, "--verify")).stdout).toContain("nothing wrong");
  },
  60_000,
);

testUnless(
  whyNot(),
  "R25: blobs of an image from a stick are taken again from the archive that lies there, without a network",
  async () => {
    const { dir, token } = processScope();
    const stick = join(dir, "stick");
    const config = join(dir, "stick.toml");
    mkdirSync(stick);
    writeFileSync(config, `[images]\ndirectories = "${stick}"\nnamespace = "${token}-stick"\n`);
    const made = new Berthd(join(dir, "r-stick"), `${token}-stick`, { env: { BERTH_CONFIG: config } });
    open.push(async () => {
      await made.stop();
      made.remove();
    });
    await made.start();
    writeImageArchive(join(stick, "app.tar"), "localhost/stick:1");
    const { layer, config: settings } = makeImage();
    await waitFor(
      "the image",
      async () => (await made.ctr(["images", "ls", "-q"])).stdout.includes("localhost/stick:1"),
      {
        timeout: 30_000,
      },
    );
    corrupt(fileOf(made, layer.digest));
    rmSync(fileOf(made, settings.digest));
    const { stdout, exitCode } = await check(made, "--verify", "--repair", "--config", config);
    for (const digest of [layer.digest, settings.digest]) {
      expect(stdout).toMatch(new RegExp(`^repaired: content .*${digest} was taken again from ${stick}/app.tar$`, "m"));
    }
    expect(exitCode).toBe(0);
    expect((await check(made, "--verify")).stdout).toContain("nothing wrong");
  },
  60_000,
);
