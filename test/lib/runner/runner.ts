/** Runs checks and test files one after another, prints one line for each, and counts. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Glob } from "bun";
import { root } from "../paths.ts";
import { allProcesses, descendantsOf } from "../process.ts";
import type { Scope } from "../scope.ts";
import { add, readJunit, type Tally } from "./tally.ts";

/** For a test that names no limit of its own, in milliseconds: two busy files share the processors, and bun's is 5 s. */
const TEST_LIMIT_MS = 60_000;

/** Output and end of a program. */
interface Ended {
  exitCode: number;
  output: string;
  timedOut: boolean;
}

/** One run: where it counts and where its files are. */
export class Runner {
  readonly tally: Tally = { passed: 0, failed: 0, skipped: 0 };
  /** `name: reason` of each skipped test. */
  readonly skips: string[] = [];
  /** One line for each check or file that failed. */
  readonly failures: string[] = [];
  readonly #scope: Scope;
  readonly #children = new Set<Bun.Subprocess>();
  #stopped = false;
  #junits = 0;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  /** Prints a heading. */
  heading(text: string): void {
    console.log(`\n== ${text}`);
  }

  /** Runs a program as one check. Answers whether it passed. */
  async check(name: string, argv: readonly string[], timeout = 300_000): Promise<boolean> {
    const begun = performance.now();
    const ended = await this.#run(argv, timeout);
    const passed = ended.exitCode === 0 && !ended.timedOut;
    this.#line(passed, name, begun, ended.timedOut ? "timed out" : passed ? "" : `exit code ${ended.exitCode}`);
    if (!passed) console.log(ended.output.trimEnd());
    add(this.tally, passed ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 1, skipped: 0 });
    return passed;
  }

  /** Counts a check that is no program: it passed when there are no complaints. */
  result(name: string, complaints: readonly string[]): void {
    this.#line(complaints.length === 0, name, performance.now(), "");
    for (const complaint of complaints) console.log(`     ${complaint}`);
    add(
      this.tally,
      complaints.length === 0 ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 1, skipped: 0 },
    );
  }

  /**
   * Runs the test files that match, each in a process of its own, sorted by path.
   * @param globs relative to the repository
   * @param filters when there are any, a file's path must contain one of them
   * @param timeout for each file, in milliseconds
   * @param parallel how many files at a time
   */
  async files(globs: readonly string[], filters: readonly string[], timeout: number, parallel = 1): Promise<void> {
    const paths = globs
      .flatMap((glob) => [...new Glob(glob).scanSync(root)])
      .filter((path) => filters.length === 0 || filters.some((filter) => path.includes(filter)))
      .sort();
    const left = [...paths].reverse();
    const worker = async (): Promise<void> => {
      for (let path = left.pop(); path !== undefined && !this.#stopped; path = left.pop())
        await this.#file(path, timeout);
    };
    await Promise.all(Array.from({ length: parallel }, worker));
    if (paths.length === 0) console.log("  no test files");
  }

  async #file(path: string, timeout: number): Promise<void> {
    const begun = performance.now();
    const junit = join(this.#scope.dir, `junit-${++this.#junits}.xml`);
    const reporter = ["--reporter=junit", `--reporter-outfile=${junit}`];
    const ended = await this.#run(
      [process.execPath, "test", `--timeout=${TEST_LIMIT_MS}`, ...reporter, `./${path}`],
      timeout,
    );
    const counted = existsSync(junit) ? readJunit(readFileSync(junit, "utf8")) : undefined;
    const tally = counted ?? { passed: 0, failed: 1, skipped: 0 };
    const reasons = ended.output
      .split("\n")
      .filter((line) => line.startsWith("SKIP "))
      .map((line) => line.slice("SKIP ".length));
    this.skips.push(...reasons);
    let note = "";
    if (ended.timedOut) note = `stopped after ${timeout / 1000} s`;
    else if (counted === undefined) note = `no report, exit code ${ended.exitCode}`;
    else if (ended.exitCode !== 0 && tally.failed === 0) note = `exit code ${ended.exitCode}: an error outside a test`;
    else if (tally.skipped > reasons.length) note = "a test was skipped without a reason";
    if (note !== "" && tally.failed === 0) tally.failed = 1;
    add(this.tally, tally);
    const counts = `${tally.passed} passed${tally.failed ? `, ${tally.failed} failed` : ""}`;
    const skipped = tally.skipped ? `, ${tally.skipped} skipped` : "";
    this.#line(tally.failed === 0, path, begun, `${counts}${skipped}${note && ` (${note})`}`);
    // What passed tells nothing, and a log that is cut short must show what failed.
    if (tally.failed > 0) console.log(ended.output.replace(/^\(pass\) .*\n/gm, "").trimEnd());
  }

  #line(passed: boolean, name: string, begun: number, note: string): void {
    const seconds = ((performance.now() - begun) / 1000).toFixed(1);
    console.log(`${passed ? "  ok  " : " FAIL "} ${name.padEnd(52)} ${seconds.padStart(6)} s  ${note}`.trimEnd());
    if (!passed) this.failures.push(`${name}${note && `: ${note}`}`);
  }

  async #run(argv: readonly string[], timeout: number): Promise<Ended> {
    if (this.#stopped) return { exitCode: 130, output: "stopped", timedOut: false };
    // One pipe for both streams keeps their lines in order.
    const child = Bun.spawn(["/bin/sh", "-c", 'exec "$@" 2>&1', "sh", ...argv], {
      cwd: root,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
      env: { ...process.env, FORCE_COLOR: "0", NO_COLOR: "1" },
    });
    this.#children.add(child);
    let timedOut = false;
    const limit = setTimeout(() => {
      timedOut = true;
      killTree(child.pid);
    }, timeout);
    const output = new Response(child.stdout).text();
    const exitCode = await child.exited;
    clearTimeout(limit);
    this.#children.delete(child);
    // What outlives the program may hold its output open; its guard ends that.
    const text = await Promise.race([output, Bun.sleep(10_000).then(() => "(output still held open)")]);
    return { exitCode, output: text, timedOut };
  }

  /** Ends everything that runs now and starts nothing more. */
  stop(): void {
    this.#stopped = true;
    for (const child of this.#children) killTree(child.pid);
  }
}

/** Kills a process and all its descendants. */
function killTree(pid: number): void {
  const all = allProcesses();
  for (const p of [pid, ...descendantsOf(pid, all).map((d) => d.pid)]) {
    try {
      process.kill(p, "SIGKILL");
    } catch {
      // gone already
    }
  }
}
