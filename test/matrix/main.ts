/**
 * The matrix: the integration tests under several containerds, under pure cgroup v2, with runc and crun.
 *
 * Usage: bun test/matrix/main.ts [ROW...] [--only ROW] [--groups a,b] [--quick] [--budget MINUTES] [--logs DIR] [--list]
 *
 * Prints what each row found, one table, the failures with their messages, and what was skipped and why. The last line
 * is `N passed, N failed, N skipped`; a row that cannot run counts as one skipped. The exit status is 1 when anything
 * failed. The tools that give the other environments are looked for in $BERTH_TOOLS, ../shared and the PATH.
 */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { Glob } from "bun";
import { root } from "../lib/paths.ts";
import { findByToken } from "../lib/runner/machine.ts";
import { add, summary, type Tally } from "../lib/runner/tally.ts";
import { closeScope, openRun } from "../lib/scope.ts";
import { groupNames, groupOf, groupOfFile, namePattern } from "./groups.ts";
import type { Where } from "./probe.ts";
import { type Case, type Ended, readCases } from "./report.ts";
import { allFiles, allRows, type Row, type Wrapped } from "./rows.ts";
import { type Line, table, total } from "./table.ts";

const usage = `usage: npm run test:matrix -- [ROW...] [OPTION...]
  --only ROW         run this row; repeatable, and the same as naming it without the option
  --groups A,B       run and count only the tests of these groups
  --quick            of every row the files that tell most for their time, and no emulated machine
  --budget MINUTES   start no row once so much time is used up, and name what was left out
  --logs DIR         keep the output of every file there
  --list             print rows and groups`;

/** With --quick: every verb, the order of the events, and the adoption after a restart. */
const quickFiles = /\/(container|events|restart|crun)\.test\.ts$/;

const options = readOptions();
const scope = openRun();
const share = join(scope.dir, "share");
mkdirSync(share, { recursive: true });
const begun = performance.now();
let current: Bun.Subprocess | undefined;
let stopped = false;

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    stopped = true;
    current?.kill("SIGTERM");
  });
}

const rows = selectRows();
if (options.list) {
  for (const row of rows) console.log(`${row.name.padEnd(16)} ${row.about}`);
  console.log(`groups: ${groupNames.join(", ")}`);
  closeScope(scope);
  process.exit(0);
}
process.exit(await main());

function readOptions() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        only: { type: "string", multiple: true, default: [] },
        groups: { type: "string" },
        quick: { type: "boolean", default: false },
        budget: { type: "string" },
        logs: { type: "string" },
        list: { type: "boolean", default: false },
      },
    });
    const groups = values.groups?.split(",");
    const unknown = groups?.find((name) => !groupNames.includes(name));
    if (unknown !== undefined) throw new Error(`no group ${unknown}; there are ${groupNames.join(", ")}`);
    const budget = values.budget === undefined ? Number.POSITIVE_INFINITY : Number(values.budget) * 60;
    if (!(budget > 0)) throw new Error(`--budget takes a number of minutes, not ${values.budget}`);
    return { ...values, groups, budget, only: [...values.only, ...positionals] };
  } catch (error) {
    console.error(`${(error as Error).message}\n${usage}`);
    process.exit(2);
  }
}

function selectRows(): readonly Row[] {
  const all = allRows(share);
  const unknown = options.only.find((name) => !all.some((row) => row.name === name));
  if (unknown === undefined)
    return options.only.length === 0 ? all : all.filter((row) => options.only.includes(row.name));
  closeScope(scope);
  console.error(`no row ${unknown}; there are ${all.map((row) => row.name).join(", ")}\n${usage}`);
  process.exit(2);
}

async function main(): Promise<number> {
  const lines: Line[] = [];
  const failures: string[] = [];
  /** Failures that are no test's. */
  const troubles: string[] = [];
  const skips = new Map<string, string[]>();
  const leftOut: string[] = [];
  const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
  const skip = (what: string, where: string): void => {
    skips.set(what, [...(skips.get(what) ?? []), where]);
  };

  if (!(await build())) troubles.push("the build, see above");
  for (const row of troubles.length > 0 ? [] : rows) {
    if (stopped) break;
    if (options.quick && options.only.length === 0 && row.name === "cgroup2-tcg") {
      leftOut.push(`${row.name}: --quick`);
      continue;
    }
    if (performance.now() - begun > options.budget * 1000) {
      leftOut.push(`${row.name}: the ${options.budget / 60} minutes of --budget were used up`);
      continue;
    }
    const start = performance.now();
    console.log(`\n== ${row.name}: ${row.about}`);
    const where = await probe(row);
    const seconds = () => (performance.now() - start) / 1000;
    if (typeof where === "string") {
      console.log(`  skipped: ${where}`);
      lines.push({ name: row.name, tallies: new Map(), seconds: seconds(), absent: where });
      skip(`the whole row: ${where}`, row.name);
      tally.skipped++;
      continue;
    }
    const { containerd, runc, cgroup, kernel, controllers, pressure } = where;
    const unified = cgroup === "v2" ? ` (${controllers}; ${pressure ? "PSI" : "no PSI"})` : "";
    console.log(`  containerd ${containerd}, ${runc}, Linux ${kernel}, cgroup ${cgroup}${unified}`);
    const tallies = new Map<string, Tally>();
    for (const path of filesOf(row)) {
      if (stopped) break;
      for (const one of await runFile(row, path)) {
        const group = groupOf(path, one.name);
        if (options.groups !== undefined && !options.groups.includes(group)) continue;
        const sum = tallies.get(group) ?? { passed: 0, failed: 0, skipped: 0 };
        tallies.set(group, sum);
        sum[one.outcome]++;
        if (one.outcome === "failed") failures.push(`${row.name}: ${path}: ${one.name}\n${indent(one.message)}`);
        if (one.outcome === "skipped") skip(`${path}: ${one.name}: ${one.message}`, row.name);
      }
    }
    lines.push({ name: row.name, tallies, seconds: seconds() });
    add(tally, total(tallies.values()));
  }

  closeScope(scope);
  const left = findByToken(scope.token);
  if (left.length > 0) troubles.push(`left on the machine:\n${indent(left.join("\n"))}`);
  if (stopped) troubles.push("stopped by a signal");
  tally.failed += troubles.length;

  console.log("");
  lines.sort((a, b) => a.name.localeCompare(b.name));
  for (const text of lines.length > 0 ? table(lines, groupNames) : []) console.log(text);
  list("failed", [...failures, ...troubles]);
  list(
    "skipped",
    [...skips].map(([what, where]) => `${what}\n      in ${where.join(", ")}`),
  );
  list("left out", leftOut);
  console.log(`\n${((performance.now() - begun) / 1000).toFixed(0)} s`);
  console.log(summary(tally));
  return tally.failed > 0 ? 1 : 0;
}

/** Builds into a directory of this run: another build at the same time changes nothing under the tests. */
async function build(): Promise<boolean> {
  const out = join(share, "dist");
  for (const argv of [["proto/generate.ts"], ["shim/build.ts", "--out", out]]) {
    const { exitCode, output } = await collect({ argv: [process.execPath, ...argv], env: process.env });
    if (exitCode !== 0) {
      console.log(output);
      return false;
    }
  }
  process.env["BERTH_TEST_DIST"] = out;
  return true;
}

/** What the row is, asked in the row itself; a sentence when it cannot run. */
async function probe(row: Row): Promise<Where | string> {
  const absent = await row.prepare();
  if (absent !== undefined) return absent;
  const { exitCode, output } = await collect(row.wrap([process.execPath, join(import.meta.dir, "probe.ts")]));
  const answer = output.split("\n").find((line) => line.startsWith('{"containerd"'));
  if (exitCode !== 0 || answer === undefined) return `it does not start: ${output.trim().split("\n").at(-1)}`;
  const where = JSON.parse(answer) as Where;
  return row.mismatch(where) ?? where;
}

function filesOf(row: Row): string[] {
  return (row.files ?? allFiles)
    .flatMap((glob) => [...new Glob(glob).scanSync(root)])
    .filter((path) => row.having === undefined || row.having.test(readFileSync(join(root, path), "utf8")))
    .filter((path) => !row.without?.test(path))
    .filter((path) => !options.quick || row.files !== undefined || quickFiles.test(path))
    .filter((path) => filterFor(path) !== "none")
    .sort();
}

/** Which tests of a file --groups asks for: all, none, or those whose names match. */
function filterFor(path: string): "all" | "none" | RegExp {
  if (options.groups === undefined || options.groups.includes(groupOfFile(path))) return "all";
  const pattern = namePattern(options.groups);
  return pattern?.test(readFileSync(join(root, path), "utf8")) ? pattern : "none";
}

async function runFile(row: Row, path: string): Promise<Case[]> {
  const start = performance.now();
  const junit = join(share, `${row.name}-${basename(path)}.xml`);
  const filter = filterFor(path);
  const names = filter instanceof RegExp ? ["--test-name-pattern", filter.source] : [];
  const report = ["--reporter=junit", `--reporter-outfile=${junit}`];
  const ended = await collect(row.wrap([process.execPath, "test", ...names, ...report, `./${path}`]), junit);
  if (options.logs !== undefined) {
    mkdirSync(options.logs, { recursive: true });
    writeFileSync(join(options.logs, `${row.name}-${basename(path)}.log`), ended.output);
  }
  const cases = readCases(ended);
  const of = (outcome: string): number => cases.filter((one) => one.outcome === outcome).length;
  const counts = `${of("passed")} passed, ${of("failed")} failed, ${of("skipped")} skipped`;
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${of("failed") > 0 ? " FAIL " : "  ok  "} ${path.padEnd(44)} ${seconds.padStart(6)} s  ${counts}`);
  return cases;
}

/** Runs a command with both streams in one pipe, which keeps their lines in order. */
async function collect({ argv, env }: Wrapped, junit?: string): Promise<Ended> {
  const child = Bun.spawn(["/bin/sh", "-c", 'exec "$@" 2>&1', "sh", ...argv], {
    cwd: root,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
    env,
  });
  current = child;
  const output = new Response(child.stdout).text();
  const exitCode = await child.exited;
  current = undefined;
  // What outlives the command may hold its output open.
  const text = await Promise.race([output, Bun.sleep(10_000).then(() => "(output still held open)")]);
  return {
    exitCode,
    output: text,
    junit: junit !== undefined && existsSync(junit) ? readFileSync(junit, "utf8") : undefined,
  };
}

function indent(text: string): string {
  const lines = text.trimEnd().split("\n");
  const cut = lines.length > 14 ? [...lines.slice(0, 13), `... ${lines.length - 13} more lines`] : lines;
  return cut.map((line) => `      ${line.slice(0, 400)}`).join("\n");
}

function list(heading: string, texts: readonly string[]): void {
  if (texts.length > 0) console.log(`\n${heading}:\n${texts.map((text) => `  ${text}`).join("\n")}`);
}
