/** R29: images without a network: a watched directory with archives, deltas and lists; fetched ones survive a kill. */

import { afterAll, expect } from "bun:test";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Berthd, builtBerthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { makeVersion, publishVersion, writeVersion } from "../lib/delta-image.ts";
import { FakeRegistry } from "../lib/fake-registry.ts";
import { dist, whyNoContainers } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { waitFor } from "../lib/wait.ts";

const impossible = whyNoContainers() ?? (existsSync(builtBerthd) ? undefined : "berthd is not built");
const scope = processScope();
const berth = join(dist, "berth");
const left: (() => Promise<void> | void)[] = [];
let count = 0;
afterAll(async () => {
  for (const end of left.reverse()) await end();
}, 60_000);

/** A daemon that watches a directory of a stick, which is not there yet. */
async function start(prefetch: readonly string[] = []) {
  const dir = join(scope.dir, `images${++count}`);
  mkdirSync(dir, { recursive: true });
  const config = join(dir, "config.toml");
  const stick = join(dir, "media/stick/berth");
  const namespace = `${scope.token}-i${count}`;
  const lines = [
    "[images]",
    `directories = ${JSON.stringify(join(dir, "media/*/berth"))}`,
    `prefetch = ${JSON.stringify(prefetch)}`,
    `namespace = ${JSON.stringify(namespace)}`,
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  const daemon = new Berthd(join(dir, "berthd"), namespace, { env: { BERTH_CONFIG: config } });
  await daemon.start();
  left.push(async () => {
    await daemon.stop();
    daemon.remove();
  });
  const call = async (...args: string[]): Promise<string> =>
    (await run([berth, "-n", namespace, "-a", daemon.address, ...args], { check: true })).stdout;
  type Row = { Source: string; State: string; Images: string[]; Note: string };
  const rows = async (): Promise<Row[]> =>
    (await call("offline", "--format", "json"))
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Row);
  const stateOf = async (source: string) => (await rows()).find((row) => row.Source === source)?.State;
  const until = (source: string, state: string) =>
    waitFor(`${source} to be ${state}`, async () => (await stateOf(source)) === state, {
      timeout: 60_000,
      interval: 200,
    });
  const images = async () => (await daemon.ctr(["images", "ls", "-q"], { check: true })).stdout.trim().split("\n");
  return { dir, stick, daemon, call, rows, until, images };
}

testUnless(
  impossible,
  "R29: a stick brings images and deltas, once; they are pinned, and stay when it goes",
  async () => {
    const { dir, stick, daemon, call, rows, until, images } = await start();
    const [one, two] = [makeVersion(1), makeVersion(2)];
    const [old, fresh] = [join(dir, "1.tar"), join(dir, "2.tar")];
    writeVersion(old, "localhost/app:1", one);
    writeVersion(fresh, "localhost/app:2", two);
    await call("delta", old, fresh, "-q", "-o", join(dir, "delta.tar"));
    // The delta comes first: it waits for its image. What is half copied is nothing yet.
    mkdirSync(stick, { recursive: true });
    renameSync(join(dir, "delta.tar"), join(stick, "a-delta.tar"));
    writeFileSync(join(stick, "broken.tar"), Buffer.alloc(10_000, 7));
    await until(join(stick, "a-delta.tar"), "failed");
    await until(join(stick, "broken.tar"), "failed");
    expect((await rows()).find(({ Source }) => Source.endsWith("a-delta.tar"))?.Note).toContain(
      "pull or load that image",
    );
    writeFileSync(join(stick, "base.tar.part"), readFileSync(old));
    renameSync(join(stick, "base.tar.part"), join(stick, "base.tar"));
    await until(join(stick, "base.tar"), "taken");
    await until(join(stick, "a-delta.tar"), "taken");
    expect(await images()).toEqual(["localhost/app:1", "localhost/app:2"]);
    const { stdout } = await daemon.ctr(["images", "ls"], { check: true });
    expect(stdout.match(/io\.cri-containerd\.pinned=pinned/g)).toHaveLength(2);
    expect(stdout).toContain(two.manifest.digest);

    // What was removed does not come back with a reboot, and nothing is read again.
    await daemon.ctr(["images", "rm", "localhost/app:2"], { check: true });
    await daemon.restart("SIGKILL");
    await until(join(stick, "base.tar"), "taken");
    await until(join(stick, "a-delta.tar"), "taken");
    expect(await images()).toEqual(["localhost/app:1"]);
    expect(daemon.log().match(/imported images of a watched directory/g)).toHaveLength(2);
    rmSync(join(dir, "media"), { recursive: true });
    await waitFor("the stick to be gone", async () => (await rows()).length === 0, { timeout: 60_000, interval: 200 });
    expect(await images()).toEqual(["localhost/app:1"]);
  },
  120_000,
);

testUnless(
  impossible,
  "R29: a list is fetched in the background, again after a failure, and goes on by a range after a SIGKILL",
  async () => {
    const registry = new FakeRegistry();
    left.push(() => registry.stop());
    const [one, two] = [makeVersion(1), makeVersion(2)];
    publishVersion(registry, "listed", "1", one);
    publishVersion(registry, "configured", "1", two);
    const name = `${registry.host}/configured:1`;
    const layer = two.layers[1];
    const size = layer?.size ?? 0;
    let isSilent = true;
    registry.faults.push(({ method, path, headers }) => {
      if (!isSilent || method !== "GET" || !path.includes(layer?.digest ?? "") || headers["range"]) return undefined;
      isSilent = false;
      const body = new ReadableStream({
        start: (stream) => stream.enqueue(layer?.body.subarray(0, 1_000_000)),
      });
      return new Response(body, { headers: { "content-length": String(size) } });
    });
    const { stick, daemon, until, images, rows } = await start([name]);
    const note = async () => (await rows()).find(({ Source }) => Source === name)?.Note ?? "";
    await waitFor("progress", async () => /^1\.\dMB of/.test(await note()), { timeout: 60_000, interval: 200 });
    await daemon.kill();
    registry.asked.length = 0;
    await daemon.start();
    await until(name, "there");
    const ranges = registry.asked.filter(({ method, path }) => method === "GET" && path.includes(layer?.digest ?? ""));
    expect(ranges.map(({ headers }) => headers["range"])).toEqual(["bytes=1000000-"]);
    // A list on a stick, as k3s has it.
    mkdirSync(stick, { recursive: true });
    writeFileSync(join(stick, "images.txt"), `# what this node needs\n${registry.host}/listed:1\n`);
    await until(`${registry.host}/listed:1`, "there");
    expect((await images()).sort()).toEqual([name, `${registry.host}/listed:1`].sort());
    expect((await daemon.ctr(["images", "ls"], { check: true })).stdout.match(/pinned=pinned/g)).toHaveLength(2);
  },
  120_000,
);
