/** `npm run bench -- delta`: what a delta saves of a large image of which a hundredth is new, and what it costs. */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Berthd } from "../../lib/berthd.ts";
import { run } from "../../lib/command.ts";
import { dist } from "../../lib/paths.ts";
import { closeScope } from "../../lib/scope.ts";
import { openDisk } from "../disk.ts";
import { parseOnly } from "../figure.ts";
import { describeMachine, loadAverage } from "../machine.ts";
import { type Kind, kinds, titles, writeVersion } from "./images.ts";

export const usage = `usage: npm run bench -- delta [--megabytes N] [--only KIND,...] [--json]
  kinds: ${kinds.join(", ")}`;

/** What one kind of change came to. Bytes, milliseconds. */
interface Row {
  readonly kind: Kind;
  /** Of the new image's layer: uncompressed, and as a registry has it. */
  readonly layer: number;
  readonly full: number;
  readonly delta: number;
  readonly make: { readonly ms: number; readonly peak: number };
  /** The peak is that of the process that makes the layer. */
  readonly apply: { readonly ms: number; readonly peak: number };
  /** Loading the whole new image instead, without unpacking, too. */
  readonly load: number;
  readonly daemonPeak: number;
}

const berth = join(dist, "berth");

/** Runs the bench. @returns false when a delta did not make the very image */
export async function benchDelta(args: readonly string[]): Promise<boolean> {
  const { values } = parseArgs({
    args: [...args],
    options: { megabytes: { type: "string", default: "500" }, only: { type: "string" }, json: { type: "boolean" } },
  });
  const bytes = Number(values.megabytes) * 1e6;
  const disk = await openDisk();
  const machine = await describeMachine(disk.description);
  const rows: Row[] = [];
  try {
    for (const kind of parseOnly(kinds, values.only)) rows.push(await measure(kind, disk.dir, disk.scope.token, bytes));
  } finally {
    closeScope(disk.scope);
  }
  if (values.json) console.log(JSON.stringify({ machine, loadAtEnd: loadAverage(), rows }, undefined, 2));
  else
    console.log(`${table(rows)}\n${machine.cores} cores, load ${machine.load} at the beginning, ${disk.description}`);
  return true;
}

async function measure(kind: Kind, dir: string, token: string, bytes: number): Promise<Row> {
  const [old, fresh] = [join(dir, `${kind}-1.tar`), join(dir, `${kind}-2.tar`)];
  writeVersion(old, kind, false, bytes);
  const made = writeVersion(fresh, kind, true, bytes);
  const file = join(dir, `${kind}-delta.tar`);
  const begun = performance.now();
  const child = Bun.spawn([berth, "delta", old, fresh, "-o", file], { stdio: ["ignore", "inherit", "inherit"] });
  if ((await child.exited) !== 0) throw new Error("berth delta failed");
  const make = { ms: performance.now() - begun, peak: child.resourceUsage()?.maxRSS ?? 0 };
  const daemon = new Berthd(join(dir, `berthd-${kind}`), `${token}-${kind}`);
  await daemon.start();
  try {
    const call = (...rest: string[]) =>
      run([berth, "-n", daemon.namespace, "-a", daemon.address, ...rest], { check: true, timeout: 900_000 });
    await call("load", "-q", "--no-unpack", "-i", old);
    const watched = watchPeak(daemon.pid ?? 0);
    const from = performance.now();
    await call("load", "-q", "--no-unpack", "-i", file);
    const apply = { ms: performance.now() - from, peak: watched.end() };
    const digests = new Set([await digestOf(daemon, "localhost/large:2")]);
    await call("rmi", "localhost/large:2");
    await call("prune", "-f").catch(() => undefined);
    const again = performance.now();
    await call("load", "-q", "--no-unpack", "-i", fresh);
    const load = performance.now() - again;
    digests.add(await digestOf(daemon, "localhost/large:2"));
    if (digests.size !== 1) throw new Error(`the delta of ${kind} made another image`);
    const daemonPeak = peakOf(daemon.pid ?? 0);
    const { bytes: layer, compressed: full } = made;
    return { kind, layer, full, delta: statSync(file).size, make, apply, load, daemonPeak };
  } finally {
    await daemon.stop();
    daemon.remove();
  }
}

async function digestOf(daemon: Berthd, name: string): Promise<string> {
  const { stdout } = await daemon.ctr(["images", "ls", `name==${name}`], { check: true });
  return /sha256:[0-9a-f]{64}/.exec(stdout)?.[0] ?? "";
}

/** The most memory that a process had resident, in bytes; 0 when it is gone. */
function peakOf(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** Watches the processes that apply patches for a daemon. */
function watchPeak(daemon: number): { end(): number } {
  let peak = 0;
  const timer = setInterval(() => {
    for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
        const parent = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
        if (parent === daemon && line.includes("patch")) peak = Math.max(peak, peakOf(Number(pid)));
      } catch {
        // It has ended.
      }
    }
  }, 100);
  return {
    end() {
      clearInterval(timer);
      return peak;
    },
  };
}

function table(rows: readonly Row[]): string {
  const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
  const s = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
  const head = [
    "| change | layer | full pull | delta | of it | make | peak | apply | peak | load of all |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
  ];
  const lines = rows.map(({ kind, layer, full, delta, make, apply, load }) => {
    const cells = [titles[kind], mb(layer), mb(full), mb(delta), `${((100 * delta) / full).toFixed(2)} %`];
    cells.push(s(make.ms), mb(make.peak), s(apply.ms), mb(apply.peak), s(load));
    return `| ${cells.join(" | ")} |`;
  });
  return [...head, ...lines].join("\n");
}
