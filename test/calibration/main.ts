/**
 * Runs the conformance kit on every shim that is here: berth's, containerd's of each version, gVisor's. Each known
 * deviation must still be one, and all else must hold; berth's own shim has none. With --times, each run of a shim must
 * find what the first has found.
 *
 * Usage: bun test/calibration/main.ts [--shim PART-OF-A-NAME] [--times N] [--report DIR]
 *
 * Prints the rows of the table in test/conformance/README.md. The last line is `N passed, N failed, N skipped`: one for
 * each run of a shim.
 */

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Report, Result } from "../conformance/result.ts";
import { run } from "../lib/command.ts";
import { findCriu } from "../lib/criu.ts";
import { runKit } from "../lib/kit.ts";
import { root } from "../lib/paths.ts";
import { summary } from "../lib/runner/tally.ts";
import { findTool } from "../lib/tools.ts";

const { values: options } = parseArgs({
  options: { shim: { type: "string" }, times: { type: "string", default: "1" }, report: { type: "string" } },
});
const lists = join(root, "test", "conformance", "expected");

/** A shim to run the kit on, or why it is not there. */
interface Subject {
  readonly name: string;
  readonly shim?: string;
  readonly missing?: string;
  /** File of its known deviations. */
  readonly list?: string;
  /** How it wants to be driven. */
  readonly flags?: readonly string[];
}

async function containerdShim(version: string): Promise<Subject> {
  const name = `containerd-shim-runc-v2 ${version}`;
  const list = join(lists, `runc-v2-${version}.json`);
  const installed = Bun.which("containerd-shim-runc-v2");
  if (installed !== null && (await run([installed, "-v"])).stdout.includes(` ${version}.`)) {
    return { name, shim: installed, list };
  }
  const tool = findTool("with-containerd");
  if (tool === undefined) return { name, missing: "it is not installed, and there is no shared/with-containerd" };
  const { exitCode, stdout, stderr } = await run([tool, "--path", version], { timeout: 120_000 });
  if (exitCode !== 0) return { name, missing: stderr.trim() };
  return { name, shim: join(stdout.trim(), "containerd-shim-runc-v2"), list };
}

/** gVisor's, with the options that test/conformance/README.md has for it. */
function gvisorShim(directory: string): Subject {
  const name = "containerd-shim-runsc-v1";
  const [shim, runsc] = [Bun.which(name), Bun.which("runsc")];
  if (shim === null || runsc === null) return { name, missing: "it or runsc is not in PATH" };
  const [toml, options] = [join(directory, "runsc.toml"), join(directory, "runsc-options.json")];
  writeFileSync(toml, '[runsc_config]\n  network = "none"\n  overlay2 = "none"\n');
  writeFileSync(options, JSON.stringify({ type_url: "io.containerd.runsc.v1.options", config_path: toml }));
  const annotation = "io.kubernetes.cri.container-type=sandbox";
  const flags = ["--options", options, "--runc", runsc, "--annotation", annotation];
  return { name, shim, list: join(lists, "runsc.json"), flags };
}

/** Runs the kit once. @throws Error when it makes no report */
async function calibrate({ shim = "", list, flags = [] }: Subject, path: string): Promise<Report> {
  const expected = list !== undefined && existsSync(list) ? ["--expected", list] : [];
  const { report, said } = await runKit(shim, path, [...expected, ...flags]);
  if (report === undefined) throw new Error(`the kit made no report: ${said.trim()}`);
  return report;
}

/** What is wrong with a result; undefined when it is as it should be. */
function complaint({ id, outcome, level, failure, reason }: Result): string | undefined {
  if (outcome === "pass" || outcome === "skip" || outcome === "expected") return undefined;
  const why = failure === undefined ? (reason ?? "") : `expected ${failure.expected}; came back: ${failure.received}`;
  return `${id} (${level}): ${outcome}: ${why.split("\n")[0]}`;
}

/** Checks that came out otherwise than the first time, but for deviations that do not come every time. */
function differences(first: Report, later: Report): string[] {
  const bare = ({ outcome }: Result): string => (outcome === "expected" ? "pass" : outcome);
  const before = new Map(first.results.map((result) => [result.id, bare(result)]));
  return later.results
    .filter((result) => before.get(result.id) !== bare(result))
    .map(({ id, outcome }) => `${id}: ${before.get(id)}, then ${outcome}`);
}

/** A row of the table. */
function row({ name }: Subject, { results }: Report): string {
  const made = results.filter(({ outcome }) => outcome !== "skip");
  const broken = (level: string): string => {
    const ids = made.filter((result) => result.outcome !== "pass" && result.level === level).map(({ id }) => id);
    const rules = Map.groupBy(ids.sort(), (id) => id.split(".")[0]);
    return [...rules].map(([rule, each]) => (each.length === 1 ? each[0] : `${rule} (${each.length})`)).join(", ");
  };
  const kept = made.filter(({ outcome }) => outcome === "pass").length;
  return `| ${name} | ${kept} of ${made.length} | ${broken("must")} | ${broken("should")} |`;
}

const directory = options.report ?? mkdtempSync(join(tmpdir(), "berth-calibration-"));
mkdirSync(directory, { recursive: true });
const criu = await findCriu();
if (typeof criu !== "string") process.env["PATH"] = `${criu.directory}:${process.env["PATH"]}`;
const subjects: Subject[] = [
  { name: "containerd-shim-berth-v2", shim: join(root, "dist", "containerd-shim-berth-v2") },
  ...(await Promise.all(["1.6", "1.7", "2.1"].map(containerdShim))),
  gvisorShim(directory),
].filter(({ name }) => name.includes(options.shim ?? ""));
const tally = { passed: 0, failed: 0, skipped: 0 };
const rows: string[] = [];
for (const subject of subjects) {
  if (subject.missing !== undefined) {
    console.log(`skip ${subject.name}: ${subject.missing}`);
    tally.skipped++;
    continue;
  }
  let first: Report | undefined;
  for (let time = 1; time <= Number(options.times); time++) {
    const report = await calibrate(subject, join(directory, `${subject.name.replaceAll(" ", "-")}-${time}.json`));
    const wrong = [
      ...report.results.flatMap((result) => complaint(result) ?? []),
      ...(first === undefined ? [] : differences(first, report)),
    ];
    if (wrong.length === 0) tally.passed++;
    else tally.failed++;
    const count = (outcome: string): number => report.results.filter((result) => result.outcome === outcome).length;
    const told = `${count("pass")} pass, ${count("expected")} known, ${count("skip")} skipped`;
    console.log(
      `${wrong.length === 0 ? "ok  " : "FAIL"} ${subject.name}: ${told} (${(report.ms / 1000).toFixed(1)} s)`,
    );
    for (const line of wrong) console.log(`       ${line}`);
    if (first === undefined) {
      first = report;
      for (const { id, reason } of report.results.filter(({ outcome }) => outcome === "skip"))
        console.log(`       skip ${id}: ${reason}`);
      rows.push(row(subject, report));
    }
  }
}
if (options.report === undefined) rmSync(directory, { recursive: true });
console.log(["", ...rows, ""].join("\n"));
console.log(summary(tally));
process.exit(tally.failed > 0 ? 1 : 0);
