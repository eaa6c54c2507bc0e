/** How many bytes per second a container gets into a log file, and what a shim that writes one costs while it waits. */

import { closeSync, constants, openSync, readdirSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { HeldFifo, makeFifo } from "./fifo.ts";
import { type Bench, freshId, inPairs, seconds } from "./measure.ts";
import { readMemory } from "./proc.ts";
import type { Runtime } from "./rig.ts";
import { Shim } from "./shim.ts";

/** The forms of a log; the reference knows the first only, and writes it whatever is asked. */
const forms = [
  { id: "log-file", query: "" },
  { id: "log-raw", query: "?max-size=10m&max-file=3" },
  { id: "log-cri", query: "?format=cri&max-size=10m&max-file=3" },
  { id: "log-json", query: "?format=json&max-size=10m&max-file=3" },
] as const;

const block = 64 * 1024 * 1024;

/** Throughput into each form of log, and the memory of shims that have written a little and a lot. */
export async function measureLogs(bench: Bench): Promise<void> {
  const lines = join(bench.rig.rootfs, "lines");
  writeFileSync(lines, sampleLines(block));
  for (const form of forms) {
    await inPairs(bench, bench.scale.throughputPairs, (runtime, record) => ofForm(bench, runtime, form, record));
  }
  rmSync(lines);
  await measureMemory(bench);
}

/** Lines as services write them, some 110 bytes each; one in four has quotes. */
function sampleLines(size: number): Uint8Array {
  const line = (i: number): string =>
    i % 4 === 0
      ? `{"level":"info","n":${i},"msg":"request served","path":"/api/v1/items/${i % 977}","ms":${i % 83}}\n`
      : `2026-11-30T12:00:00Z INFO  server: request ${i} GET /api/v1/items/${i % 977} answered with 200 after ${i % 83} ms\n`;
  const some = new TextEncoder().encode(Array.from({ length: 10_000 }, (_, i) => line(i)).join(""));
  const all = new Uint8Array(size);
  for (let at = 0; at < size; at += some.length) all.set(some.subarray(0, size - at), at);
  // So that copies of the file, one after another, are lines still.
  all[size - 1] = 10;
  return all;
}

async function ofForm(
  bench: Bench,
  runtime: Runtime,
  { id, query }: (typeof forms)[number],
  record: boolean,
): Promise<void> {
  const { rig, samples, scale } = bench;
  const count = Math.ceil(scale.logBytes / block);
  const files = Array.from({ length: count }, () => "/lines").join(" ");
  const shim = new Shim(rig, runtime, freshId(runtime), ["sh", "-c", `read line; exec cat ${files}`]);
  const stdin = join(shim.bundle, "in");
  makeFifo(stdin);
  const fd = openSync(stdin, constants.O_RDWR | constants.O_NONBLOCK);
  const stderr = new HeldFifo(join(shim.bundle, "err"));
  const path = join(shim.bundle, "logs", "c.log");
  await shim.start();
  await shim.create({ stdin, stdout: `file://${path}${query}`, stderr: stderr.path });
  await shim.startProcess();
  await Bun.sleep(50);
  const exited = shim.wait();
  const taken = await seconds(async () => {
    writeSync(fd, "go\n");
    await exited;
    // Only then is everything in the file.
    await shim.deleteProcess();
  });
  const name = basename(path);
  const sizes = readdirSync(dirname(path)).map((file) => statSync(join(dirname(path), file)).size);
  const sum = sizes.reduce((total, size) => total + size, 0);
  if (query === "" && sum !== count * block) throw new Error(`${runtime.name}: ${sum} bytes in ${name}`);
  await shim.shutdown();
  await shim.delete();
  closeSync(fd);
  stderr.close();
  shim.remove();
  if (record) samples.add(id, runtime.name, (count * block) / taken);
}

/** Shims of containers that have written a line, one of them to a log and one nowhere, all at the same time. */
async function measureMemory(bench: Bench): Promise<void> {
  const { rig, runtimes, samples, scale } = bench;
  const script = ["sh", "-c", "echo hello; exec sleep 1000"];
  const shims: { shim: Shim; id: string; runtime: Runtime }[] = [];
  for (const runtime of runtimes) {
    for (const [id, query] of [
      ["log-none", undefined],
      ["log-pss", "?format=json&max-size=10m&max-file=3"],
    ] as const) {
      for (let n = 0; n < scale.logShims; n++) {
        const shim = new Shim(rig, runtime, freshId(runtime), script);
        const stdout = `file://${join(shim.bundle, "c.log")}${query}`;
        await shim.start();
        await (query === undefined ? shim.create() : shim.create({ stdout, stderr: stdout }));
        await shim.startProcess();
        shims.push({ shim, id, runtime });
      }
    }
  }
  bench.say(`idle for ${scale.idleSettle} s`);
  await Bun.sleep(scale.idleSettle * 1000);
  for (const { shim, id, runtime } of shims) samples.add(id, runtime.name, readMemory(shim.pid).pss);
  for (const { shim } of shims) await shim.end();
}
