/**
 * Every command of ctr, in each version that is here, on berthd and on containerd of the same version: whoever reads what
 * comes out, the exit status and the events must not be able to tell which is which.
 *
 * Usage: bun test/ctr/main.ts [--version 1.6|1.7|2.1]... [--rows REGEXP] [--validate] [--readme] [--summary] [--verbose]
 *
 * The last line is `N passed, N failed, N skipped`; a row of the table counts once for each version. With --validate both
 * sides are containerd: everything must be equal, and then a number of things are put wrong and each must be found.
 */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { run } from "../lib/command.ts";
import { root, whyNoContainers } from "../lib/paths.ts";
import { Registry } from "../lib/registry.ts";
import { findByToken } from "../lib/runner/machine.ts";
import { summary, type Tally } from "../lib/runner/tally.ts";
import { closeScope, openRun } from "../lib/scope.ts";
import { findTool } from "../lib/tools.ts";
import { writeArchives } from "./archives.ts";
import { Comparison, type Seed, type Verdict } from "./compare.ts";
import { content, images, leases, prune, registry, snapshots } from "./images.ts";
import { Side } from "./side.ts";
import { type Column, intoReadme, table } from "./table.ts";
import { containers, daemon, tasks } from "./tasks.ts";

const { values: options } = parseArgs({
  options: {
    version: { type: "string", multiple: true, default: ["1.6", "1.7", "2.1"] },
    rows: { type: "string" },
    validate: { type: "boolean", default: false },
    readme: { type: "boolean", default: false },
    summary: { type: "boolean", default: false },
    verbose: { type: "boolean", default: false },
  },
});

/** What --validate puts wrong. */
const seeds: ReadonlyMap<string, Seed> = new Map([
  ["images ls", "stdout"],
  ["images rm", "stderr"],
  ["run --rm", "exit"],
  ["containers create", "event"],
]);

/** How a verdict counts. What is known and meant is told, not counted as equal. */
const counts = {
  equal: "passed",
  "as newest": "passed",
  known: "skipped",
  differs: "failed",
  skipped: "skipped",
} as const satisfies Record<Verdict["outcome"], keyof Tally>;

const scope = openRun();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    closeScope(scope);
    process.exit(1);
  });
}
const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
const begun = performance.now();
async function main(): Promise<void> {
  const impossible = whyNoContainers();
  const columns: Column[] = [];
  for (const version of options.version) {
    const bin = impossible ?? (await directoryOf(version));
    if (typeof bin === "string") {
      columns.push({ version, absent: bin, verdicts: [] });
      tally.skipped++;
      continue;
    }
    const verdicts = await compare(version, bin.path, new Map());
    columns.push({ version, verdicts, full: bin.full });
    for (const { outcome } of verdicts) tally[counts[outcome]]++;
    show(version, verdicts);
    if (options.validate) validate(await compare(version, bin.path, seeds));
  }
  console.log(`\n${table(columns).join("\n")}`);
  if (options.readme && !options.validate) {
    const path = join(root, "README.md");
    writeFileSync(path, intoReadme(readFileSync(path, "utf8"), columns));
  }
}

/** The directory of a version's programs, or why there is none. */
async function directoryOf(version: string): Promise<{ path: string; full: string } | string> {
  const tool = findTool("with-containerd");
  if (tool === undefined) return "no with-containerd";
  const found = await run([tool, "--path", version], { timeout: 300_000 });
  const path = found.stdout.trim();
  if (found.exitCode !== 0 || !existsSync(join(path, "ctr")))
    return found.stderr.trim().split("\n").at(-1) ?? "not here";
  const full = /\d+\.\d+\.\d+/.exec((await run([join(path, "ctr"), "--version"])).stdout)?.[0] ?? version;
  return { path, full };
}

let comparisons = 0;

/** The version that berthd announces. */
const newest = "2.1";

async function compare(version: string, bin: string, wrong: ReadonlyMap<string, Seed>): Promise<Verdict[]> {
  const dir = join(scope.dir, `v${++comparisons}`);
  mkdirSync(dir);
  const archives = writeArchives(dir);
  const token = `${scope.token}-${comparisons}`;
  const sides = [
    new Side({ kind: "containerd", letter: "a", dir, token, bin }),
    new Side({ kind: options.validate ? "containerd" : "berthd", letter: "b", dir, token, bin }),
  ];
  // What berthd says it is, to the same ctr: an older one is not expected to hear what its own containerd said.
  const announced = version === newest || options.validate ? undefined : await directoryOf(newest);
  if (typeof announced === "object")
    sides.push(new Side({ kind: "containerd", letter: "c", dir, token, bin, server: announced.path }));
  const only = options.rows === undefined ? undefined : new RegExp(options.rows);
  const t = new Comparison(version, sides, wrong, only);
  const store = new Registry(join(dir, "registry"));
  try {
    await Promise.all(sides.map((side) => side.start()));
    await images(t, archives);
    await content(t);
    await leases(t);
    await containers(t);
    await tasks(t);
    const missing = await store.start();
    if (missing === undefined) await registry(t, store.host);
    else for (const row of ["images push", "images pull", "content fetch"]) t.skip(row, missing);
    await daemon(t);
    await snapshots(t);
    await prune(t);
    if (only === undefined) await t.garbage();
  } catch (error) {
    t.verdicts.push({ row: "the script", outcome: "differs", notes: [String(error)], steps: 0 });
  } finally {
    store.stop();
    for (const side of sides) {
      if (process.env["BERTH_CTR_LOGS"]) console.log(`---- log of ${side.letter}\n${side.daemon.log()}`);
      await side.stop();
    }
  }
  return t.verdicts;
}

const marks: Record<Verdict["outcome"], string> = {
  equal: "  ok  ",
  "as newest": "  ok+ ",
  known: " known",
  differs: " DIFF ",
  skipped: " skip ",
};

function show(version: string, verdicts: readonly Verdict[]): void {
  console.log(`\n== ctr ${version}`);
  for (const { row, outcome, notes } of verdicts) {
    const fine = outcome === "equal" || outcome === "as newest";
    if (options.summary && fine) continue;
    console.log(`${marks[outcome]} ${row}`);
    if (!fine || options.verbose) for (const note of notes) console.log(`   ${note}`);
  }
}

/** All that was put wrong must be found, and nothing else. */
function validate(verdicts: readonly Verdict[]): void {
  for (const [row, seed] of seeds) {
    const found = verdicts.find((one) => one.row === row)?.outcome === "differs";
    console.log(`${found ? "  ok  " : " FAIL "} a false ${seed} in ${row} is found`);
    tally[found ? "passed" : "failed"]++;
  }
  const others = verdicts.filter((one) => one.outcome === "differs" && !seeds.has(one.row));
  for (const one of others)
    console.log(` FAIL  ${one.row} differs where nothing was put wrong: ${one.notes.join("\n")}`);
  tally[others.length === 0 ? "passed" : "failed"]++;
}

try {
  await main();
} finally {
  closeScope(scope);
}
const left = findByToken(scope.token);
for (const item of left) console.log(`left on the machine: ${item}`);
tally.failed += left.length > 0 ? 1 : 0;
console.log(`\n${((performance.now() - begun) / 1000).toFixed(0)} s`);
console.log(summary(tally));
process.exit(tally.failed > 0 ? 1 : 0);
