/** R29: a pull that a crash breaks off goes on from the last safe offset, by a request for a range. */

import { afterAll, expect } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { archive, entry } from "../lib/archive.ts";
import { Berthd, builtBerthd } from "../lib/berthd.ts";
import { type Asked, FakeRegistry } from "../lib/fake-registry.ts";
import { whyNoContainers } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { ends, TransferClient } from "../lib/transfer.ts";
import { waitFor } from "../lib/wait.ts";

const impossible = whyNoContainers() ?? (existsSync(builtBerthd) ? undefined : "berthd is not built");
const platform = {
  os: "linux",
  architecture: { x64: "amd64", arm64: "arm64" }[process.arch as string] ?? process.arch,
};
const SIZE = 24 << 20;
/** Bytes after which the registry falls silent. */
const HALF = 20 << 20;
const scope = processScope();
const left: (() => Promise<void> | void)[] = [];
let count = 0;
afterAll(async () => {
  for (const end of left.reverse()) await end();
}, 30_000);

/** A registry with one large layer, whose first answer for it stops in the middle and never ends. */
function silent() {
  const registry = new FakeRegistry();
  left.push(() => registry.stop());
  const noise = Buffer.concat(Array.from({ length: SIZE >> 16 }, () => crypto.getRandomValues(new Uint8Array(65536))));
  const layer = archive(entry({ name: "noise", body: noise, mode: 0o644 }));
  const blob = registry.blob(layer);
  const config = registry.blob(
    JSON.stringify({ ...platform, config: {}, rootfs: { type: "layers", diff_ids: [blob.digest] } }),
    "application/vnd.oci.image.config.v1+json",
  );
  registry.manifest("app", "1", { schemaVersion: 2, config, layers: [blob] });
  let isSilent = true;
  const isLayer = ({ method, path }: Asked): boolean => method === "GET" && path.includes(blob.digest);
  registry.faults.push((asked) => {
    if (!isSilent || !isLayer(asked)) return undefined;
    isSilent = false;
    const body = new ReadableStream({
      start(stream) {
        stream.enqueue(layer.subarray(0, HALF));
      },
    });
    return new Response(body, { headers: { "content-length": String(layer.length) } });
  });
  const ranges = () => registry.asked.filter(isLayer).map(({ headers }) => headers["range"]);
  return { registry, name: `${registry.host}/app:1`, ranges };
}

async function start(): Promise<{ daemon: Berthd; client: () => TransferClient; data: () => string | undefined }> {
  const daemon = new Berthd(join(scope.dir, `resume${++count}`), `${scope.token}-r${count}`);
  await daemon.start();
  left.push(async () => {
    await daemon.stop();
    daemon.remove();
  });
  const ingests = join(daemon.root, "io.containerd.content.v1.content/ingest");
  const data = () => readdirSync(ingests).map((name) => join(ingests, name, "data"))[0];
  return { daemon, client: () => new TransferClient(daemon.address, daemon.namespace), data };
}

const store = (name: string) => ends.store({ name, platforms: [platform], allMetadata: true, unpacks: [] });

/** Up to where the data of an ingest was synced. */
const syncedBytes = (data: string): number => Number(readFileSync(join(data, "../synced"), "latin1").slice(0, 16));

/** Pulls until the registry falls silent, and kills the daemon then. */
async function killedInTheMiddle(name: string) {
  const { daemon, client, data } = await start();
  const first = client();
  const broken = first.transfer(ends.registry(name), store(name));
  await waitFor("what the registry sends", () => statSync(data() ?? "").size === HALF, { timeout: 20_000 });
  await waitFor("a sync on the way", () => syncedBytes(data() ?? "") > 0, { timeout: 20_000 });
  await daemon.kill();
  expect((await broken).code).not.toBe(0);
  first.close();
  return { daemon, client, data };
}

testUnless(
  impossible,
  "R29: a pull goes on where a SIGKILL has broken it off",
  async () => {
    const { name, ranges } = silent();
    const { daemon, client } = await killedInTheMiddle(name);
    await daemon.start();
    const second = client();
    left.push(() => second.close());
    expect(await second.transfer(ends.registry(name), store(name))).toMatchObject({ code: 0 });
    expect(ranges()).toEqual([undefined, `bytes=${HALF}-`]);
  },
  60_000,
);

testUnless(
  impossible,
  "R29: a pull goes on from what was synced, after the machine has lost its power",
  async () => {
    const { name, ranges } = silent();
    const { daemon, client, data } = await killedInTheMiddle(name);
    // As a power cut leaves it: another boot, and garbage where nothing was synced.
    const file = data() ?? "";
    const mark = join(file, "../synced");
    const synced = syncedBytes(file);
    expect(synced).toBeGreaterThanOrEqual(16 << 20);
    writeFileSync(mark, readFileSync(mark, "latin1").replace(/ .{36}/, ` ${"another".padEnd(36)}`));
    const bytes = readFileSync(file);
    writeFileSync(file, bytes.fill(0, synced));
    await daemon.start();
    const second = client();
    left.push(() => second.close());
    expect(await second.transfer(ends.registry(name), store(name))).toMatchObject({ code: 0 });
    expect(ranges()).toEqual([undefined, `bytes=${synced}-`]);
  },
  60_000,
);

testUnless(
  impossible,
  "R29: what does not fit to what is there is fetched from its beginning; a registry without ranges sends it all",
  async () => {
    const { registry, name, ranges } = silent();
    const { daemon, client, data } = await killedInTheMiddle(name);
    const file = data() ?? "";
    writeFileSync(file, readFileSync(file).fill(0, 1000, 2000));
    // It knows no ranges.
    registry.faults.push(({ method, path }, request) => {
      if (method !== "GET" || !path.includes("blobs/") || request.headers.get("range") === null) return undefined;
      const bytes = registry.blobs.get(path.replace(/.*blobs\//, ""));
      return bytes && new Response(Buffer.from(bytes));
    });
    await daemon.start();
    const second = client();
    left.push(() => second.close());
    expect(await second.transfer(ends.registry(name), store(name))).toMatchObject({ code: 0 });
    expect(ranges()).toEqual([undefined, `bytes=${HALF}-`, undefined]);
  },
  60_000,
);
