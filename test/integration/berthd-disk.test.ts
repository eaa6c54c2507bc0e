/** Watermarks of the disk: what goes to make room, what stays, and what is refused when there is none. */

import { afterEach, expect } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, statfsSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { berth } from "../../proto/gen/supervisor.js";
import { GrpcClient } from "../../supervisor/client/grpc.ts";
import { Berthd, builtBerthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { tar, writeImageArchive } from "../lib/image.ts";
import { writeImageOf } from "../lib/layered-image.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";
import { waitFor } from "../lib/wait.ts";

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  return existsSync(builtBerthd) ? undefined : "berthd is not built";
}

const MiB = 1 << 20;
let daemon: Berthd | undefined;

afterEach(async () => {
  const ended = daemon;
  daemon = undefined;
  for (const stop of listening.splice(0)) await stop();
  if (ended === undefined) return;
  await ended.ctr(["tasks", "kill", "--signal", "KILL", "c1"]);
  await waitFor("the task to end", async () => (await ended.status("c1")) !== "RUNNING" && true);
  await ended.ctr(["tasks", "rm", "c1"]);
  await ended.stop();
  const mounts = readFileSync("/proc/mounts", "utf8").split("\n");
  const ours = mounts.map((line) => line.split(" ")[1] ?? "").filter((path) => path.startsWith(ended.dir));
  for (const path of ours.reverse()) await run(["umount", "--lazy", path], { check: true });
  ended.remove();
});

/** A daemon with a disk of its own of 128 MiB, on which c1 runs. */
async function start(name: string, config: string): Promise<Berthd> {
  const { dir, token } = processScope();
  const file = join(dir, `${name}.toml`);
  writeFileSync(file, config);
  const made = new Berthd(join(dir, name), token, { env: { BERTH_CONFIG: file } });
  await run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", made.root], { check: true });
  daemon = made;
  await made.start();
  await made.importImage();
  await made.runDetached("c1", ["sleep", "1000"]);
  return made;
}

/** Imports an image whose one layer has bytes that do not compress. */
async function addImage(made: Berthd, name: string, bytes: number): Promise<void> {
  const archive = join(made.dir, `${name}.tar`);
  const body = crypto.getRandomValues(Buffer.alloc(Math.min(bytes, 65_536)));
  const whole = Buffer.concat(Array.from({ length: Math.ceil(bytes / body.length) }, () => body));
  writeImageOf(archive, `localhost/${name}:latest`, [tar([{ name: "big", mode: 0o644, body: whole }])], "none");
  await made.ctr(["images", "import", "--no-unpack", archive], { check: true });
  rmSync(archive);
}

const listening: (() => Promise<void>)[] = [];

/** Begins to listen to events of the disk. @returns gives those that came */
function listen(made: Berthd): () => readonly ReturnType<typeof berth.v1.DiskEvent.decode>[] {
  const api = new GrpcClient(made.address);
  const ended = new AbortController();
  const found: ReturnType<typeof berth.v1.DiskEvent.decode>[] = [];
  const reading = (async () => {
    const request = { filters: ['topic=="/berth/disk"'] };
    const stream = api.stream("containerd.services.events.v1.Events", "Subscribe", request, { signal: ended.signal });
    for await (const { event } of stream) found.push(berth.v1.DiskEvent.decode(event?.value ?? new Uint8Array()));
  })();
  listening.push(async () => {
    ended.abort();
    await reading.catch(() => undefined);
    api.close();
  });
  return () => found;
}

async function images(made: Berthd): Promise<string[]> {
  const { stdout } = await made.ctr(["images", "ls", "--quiet"], { check: true });
  return stdout.trim().split("\n").sort();
}

const quick = '[disk]\nkeep_images = "0ms"\ncheck_interval = "1s"\n';

testUnless(
  whyNot(),
  "R27: above the high watermark what nobody needs goes in order, and what runs, is pinned or written stays",
  async () => {
    const made = await start("evict", quick);
    const told = listen(made);
    for (const name of ["first", "second", "third"]) await addImage(made, name, 12 * MiB);
    await made.ctr(["images", "label", "localhost/first:latest", "io.cri-containerd.pinned=pinned"], { check: true });
    const logs = ["c1.log", "c1.log.1"].map((name) => join(made.root, "logs", made.namespace, "c1", name));
    for (const path of logs) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, new Uint8Array(MiB));
      utimesSync(path, 1, 1);
    }
    expect(await images(made)).toHaveLength(4);

    // A file that grows without the daemon: 86 % and more.
    const { blocks, bfree, bsize } = statfsSync(made.root);
    writeFileSync(join(made.root, "grown"), new Uint8Array(bfree * bsize - Math.floor(blocks * bsize * 0.13)));
    const kept = await waitFor("room", async () => {
      const left = await images(made);
      return left.length === 3 && left;
    });
    // One was enough: the one that was made first, of those that may go.
    expect(kept).toEqual(["localhost/berth-test:latest", "localhost/first:latest", "localhost/third:latest"]);
    expect(logs.map(existsSync)).toEqual([true, true]);
    await waitFor("the event", async () =>
      told().some(({ evicted: [one] }) => one?.name === "localhost/second:latest"),
    );
    expect(made.log()).toMatch(/made room on the disk.*localhost\/second:latest/);

    // More than images can give: the rotated log goes, too, and the one that is written does not.
    const { bavail } = statfsSync(made.root);
    writeFileSync(join(made.root, "more"), new Uint8Array(bavail * bsize - 3 * MiB));
    await waitFor("the rotated log to go", async () => !existsSync(logs[1] ?? "") && true);
    expect(existsSync(logs[0] ?? "")).toBe(true);
    expect(await images(made)).toEqual(["localhost/berth-test:latest", "localhost/first:latest"]);
    expect(await made.status("c1")).toBe("RUNNING");
    expect((await made.exec("c1", ["true"])).exitCode).toBe(0);
  },
  60_000,
);

testUnless(
  whyNot(),
  "R27: above the critical watermark pulls, imports and containers are refused with what to do, and removals are not",
  async () => {
    const made = await start("critical", quick);
    const { blocks, bfree, bsize } = statfsSync(made.root);
    writeFileSync(join(made.root, "grown"), new Uint8Array(bfree * bsize - Math.floor(blocks * bsize * 0.03)));
    const archive = writeImageArchive(join(made.dir, "other.tar"), "localhost/other:latest");
    const advice =
      /no room for new \w+: the disk of \S+ is 9\d % full \(.* free\), and \[disk\] critical is 95%: remove images or containers, or make the disk larger: resource exhausted/;
    expect((await made.ctr(["images", "import", archive])).stderr).toMatch(advice);
    expect((await made.ctr(["content", "ingest", "x"], { stdin: "new" })).stderr).toMatch(advice);
    const another = await made.run("c2", ["true"]);
    expect(another.stderr).toMatch(advice);
    expect(await made.status("c1")).toBe("RUNNING");

    const api = new GrpcClient(made.address, { deadlineMs: 30_000 });
    try {
      const { volumes, parts } = await api.call("berth.v1.Disk", "Status", {});
      const volume = volumes.find(({ paths }) => paths?.includes(made.root));
      expect(volume?.level).toBe("critical");
      expect(parts.map(({ kind }) => kind)).toContain("snapshots");
      const { evicted } = await api.call("berth.v1.Disk", "Evict", { dryRun: true });
      expect(evicted).toEqual([]);
    } finally {
      api.close();
    }

    await made.ctr(["tasks", "kill", "--signal", "KILL", "c1"], { check: true });
    await waitFor("the task to end", async () => (await made.status("c1")) === "STOPPED" && true);
    await made.ctr(["tasks", "rm", "c1"], { check: true });
    await made.ctr(["containers", "rm", "c1"], { check: true });
    rmSync(join(made.root, "grown"));
    await waitFor(
      "new things to be taken",
      async () => (await made.ctr(["images", "import", archive])).exitCode === 0 && true,
    );
  },
  60_000,
);
