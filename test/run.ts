/**
 * The test suite: builds, checks, and runs the tests.
 *
 * Usage: bun test/run.ts [unit|integration|long|fuzz|docker|crash|edge|all] [PART-OF-A-PATH...] [--quick]
 *
 *        bun test/run.ts clean    ends and removes what earlier runs that were killed have left behind
 *
 * Without an argument: everything but the long, fuzz, docker, crash and edge tests, which take long; --quick makes those of crashes short. The last line is `N passed, N failed, N skipped`
 * and the exit status is 1 when anything failed. BERTH_TEST_RUNTIME and PATH choose the runtime and the containerd.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { run } from "./lib/command.ts";
import { root } from "./lib/paths.ts";
import { allProcesses } from "./lib/process.ts";
import { findByToken, findDeadRuns, machineState, orphansSince, removeDeadRuns } from "./lib/runner/machine.ts";
import { Runner } from "./lib/runner/runner.ts";
import { summary } from "./lib/runner/tally.ts";
import { closeScope, openRun } from "./lib/scope.ts";
import { isGuard } from "./lib/sweep.ts";

const modes = ["unit", "integration", "long", "fuzz", "docker", "crash", "edge", "all"] as const;
/** Parts that run only when they are asked for. */
const extra = ["long", "fuzz", "docker", "crash", "edge"];
const words = process.argv.slice(2);
const [first, ...rest] = words.filter((word) => word !== "--quick");
if (words.length > rest.length + (first === undefined ? 0 : 1)) process.env["BERTH_QUICK"] = "1";
const mode = modes.find((name) => name === first);
const filters = mode === undefined && first !== undefined ? [first, ...rest] : rest;
const wants = (part: Exclude<(typeof modes)[number], "all">): boolean =>
  mode === part || mode === "all" || (mode === undefined && !extra.includes(part));

if (first === "clean") {
  for (const item of removeDeadRuns()) console.log(`removed: ${item}`);
  process.exit(0);
}
const scope = openRun();
const runner = new Runner(scope);
const begun = performance.now();
const bin = (name: string): string => join(root, "node_modules", ".bin", name);
const bun = process.execPath;

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    runner.stop();
    closeScope(scope);
    console.log(`stopped by ${signal}`);
    runner.tally.failed++;
    console.log(summary(runner.tally));
    process.exit(1);
  });
}

/** Versions of what the tests run against. */
async function printVersions(): Promise<void> {
  const first = async (argv: string[]): Promise<string> => {
    if (Bun.which(argv[0] ?? "") === null) return `${argv[0]}: not installed`;
    return (await run(argv)).stdout.split("\n")[0] ?? "";
  };
  console.log(`bun ${Bun.version}, ${(await run(["uname", "-sr"])).stdout.trim()}`);
  console.log(`${await first(["containerd", "--version"])}; ${await first(["runc", "--version"])}`);
}

await printVersions();
const before = machineState();
runner.heading("before");
const leftovers = findDeadRuns();
runner.result("nothing is left of earlier runs", leftovers);
if (leftovers.length > 0) console.log("     bun test/run.ts clean removes it");

runner.heading("build");
let built = await runner.check("protobuf code", [bun, "proto/generate.ts"]);
if (existsSync(join(root, "shim", "build.ts")) && mode !== "unit") {
  built = (await runner.check("executable", [bun, "shim/build.ts"])) && built;
}

if (mode === undefined || mode === "all") {
  runner.heading("checks");
  await runner.check("types (tsc)", [bin("tsc"), "--noEmit"]);
  await runner.check("lint and format (biome)", [
    bin("biome"),
    "check",
    "--error-on-warnings",
    "--diagnostic-level=warn",
  ]);
  await runner.check("import rules", [bun, "test/imports.ts"]);
}
if (wants("unit")) {
  runner.heading("unit tests");
  await runner.files(["test/unit/**/*.test.ts"], filters, 120_000, 2);
}
if (wants("integration") && built) {
  runner.heading("integration tests");
  await runner.files(["test/integration/**/*.test.ts"], filters, 400_000, 2);
}
if (wants("long") && built) {
  runner.heading("long tests");
  await runner.files(["test/long/**/*.test.ts"], filters, 400_000);
}
if (wants("fuzz") && built) {
  runner.heading("fuzz tests");
  await runner.files(["test/fuzz/**/*.test.ts"], filters, 1_800_000);
}
if (wants("docker") && built) {
  runner.heading("docker");
  await runner.files(["test/docker/**/*.test.ts"], filters, 600_000);
}
if (wants("crash") && built) {
  runner.heading("crashes and power cuts");
  await runner.files(["test/crash/**/*.test.ts"], filters, 3_600_000);
}
if (wants("edge") && built) {
  runner.heading("an edge node");
  await runner.files(["test/edge/**/*.test.ts"], filters, 1_800_000);
}

runner.heading("after");
await guardsToEnd();
runner.result("nothing of this run is left on the machine", findByToken(scope.token));
await reportOrphans();
closeScope(scope);

if (runner.skips.length > 0) {
  runner.heading("skipped");
  for (const skip of runner.skips) console.log(`  ${skip}`);
}
if (runner.failures.length > 0) {
  runner.heading("failed");
  for (const failure of runner.failures) console.log(`  ${failure}`);
}
console.log(`\n${((performance.now() - begun) / 1000).toFixed(1)} s`);
console.log(summary(runner.tally));
process.exit(runner.tally.failed > 0 ? 1 : 0);

/** Waits for the processes that clean up after the test files. */
async function guardsToEnd(): Promise<void> {
  const end = performance.now() + 20_000;
  const mine = (): boolean => allProcesses().some((p) => isGuard(p) && p.argv.some((a) => a.includes(scope.token)));
  while (mine() && performance.now() < end) await Bun.sleep(20);
}

/**
 * Things without an owner that came up during the run and carry no token. On a machine of its own (CI) they are ours and
 * a failure; elsewhere another program may have left them, and they are only told. A moment is given for what is just
 * being made or removed by others.
 */
async function reportOrphans(): Promise<void> {
  const end = performance.now() + 5_000;
  let orphans = orphansSince(before);
  while (orphans.length > 0 && performance.now() < end) {
    await Bun.sleep(200);
    const still = new Set(orphansSince(before));
    orphans = orphans.filter((item) => still.has(item));
  }
  const name = "no mount, cgroup or shim socket without an owner is new";
  if (process.env["CI"] || orphans.length === 0) runner.result(name, orphans);
  else console.log(["  note: new during the run and without an owner:", ...orphans].join("\n     "));
}
