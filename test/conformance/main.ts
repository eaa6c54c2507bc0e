/** `berth conformance`: drives a shim as containerd would, without containerd, and says where it keeps the contract. */

import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { release, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { select, Violation } from "./check.ts";
import { sections } from "./checks/sections.ts";
import { type Deviation, judgeExpected, readExpected } from "./expected.ts";
import { type Options, type Output, parseOptions, UsageError, usage } from "./options.ts";
import { readReport } from "./report/json.ts";
import { render, renderAll } from "./report/report.ts";
import { exitStatus, type Report, type Result } from "./result.ts";
import { ClosedError } from "./rig/connection.ts";
import { Context, type Subject } from "./rig/context.ts";
import { findLarge, isAlive, isCgroup2, sweep } from "./rig/machine.ts";
import { prepareRootfs } from "./rig/rootfs.ts";
import { meet, readRuntimeOptions } from "./rig/subject.ts";
import { Transcript } from "./rig/transcript.ts";
import { StatusError } from "./rig/wire.ts";
import { type Listed, type Place, runChecks } from "./runner.ts";

/** Where runs have their directories; short, because sockets lie below it. */
const base = "/run/berth-conformance";
/** Lines of the transcript that a failure quotes. */
const quoted = 6;
/** Bytes that a shim is killed for: the machine is not its own. */
const maxMemory = Math.min(2 * 2 ** 30, totalmem() / 4);
/** Milliseconds between two looks at what processes have. */
const memoryPause = 100;

/** Every check, with the name of its section. */
export const allChecks: readonly Listed<Context>[] = sections.flatMap(({ name, checks }) =>
  checks.map((check) => ({ ...check, section: name })),
);

/** @returns the exit status */
export async function conformance(args: readonly string[]): Promise<number> {
  try {
    const options = parseOptions(args);
    if (options.command === "help") {
      await Bun.write(Bun.stdout, usage);
      return 0;
    }
    if (options.command === "merge") return await merge(options);
    const checks = select(allChecks, options.selection);
    if (options.command === "list") {
      const lines = checks.map(
        ({ id, level, title, section }) => `${id.padEnd(24)} ${level.padEnd(7)} ${section}: ${title}\n`,
      );
      await Bun.write(Bun.stdout, `${lines.join("")}${checks.length} checks\n`);
      return 0;
    }
    return await run(options, checks);
  } catch (error) {
    const hint = error instanceof UsageError ? "\nberth conformance --help tells of the options\n" : "\n";
    await Bun.write(Bun.stderr, `berth conformance: ${(error as Error).message}${hint}`);
    return 2;
  }
}

async function merge({ reports, outputs }: Options): Promise<number> {
  const read = reports.map(readReport);
  for (const output of outputs) await write(output, renderAll(read, output.format));
  return 0;
}

async function write({ path }: Output, text: string): Promise<void> {
  await Bun.write(path === undefined ? Bun.stdout : Bun.file(path), text);
}

/** What a person must put right first. @throws Error in one sentence */
function demand({ shim, runc }: Options): void {
  if (process.getuid?.() !== 0) throw new Error("run it as root: it makes mounts, cgroups and containers");
  for (const [flag, path] of [["--shim", shim], ...(runc === undefined ? [] : [["--runc", runc]])] as [
    string,
    string,
  ][]) {
    if (!existsSync(path)) throw new Error(`${flag} ${path}: there is no such file`);
    try {
      accessSync(path, constants.X_OK);
    } catch {
      throw new Error(`${flag} ${path} is not executable`);
    }
  }
}

async function run(options: Options, checks: readonly Listed<Context>[]): Promise<number> {
  demand(options);
  const known = options.expected === undefined ? [] : readExpected(options.expected);
  const runc = options.runc === undefined ? (Bun.which("runc") ?? "runc") : resolve(options.runc);
  const runtimeOptions = readRuntimeOptions(options.options, options.runc === undefined ? undefined : runc);
  removeDeadRuns();
  const run = new Run(options.verbose);
  try {
    const rootfs = prepareRootfs(options.rootfs && resolve(options.rootfs), join(run.dir, "rootfs"));
    const { annotations, keep } = options;
    const given = { shim: resolve(options.shim), rootfs, runc, options: runtimeOptions, annotations, keep };
    const { subject, name } = await meet(given, (tried) => run.context(tried, "meet"));
    if (subject.broken !== undefined) await Bun.write(Bun.stderr, `no shim can be started: ${subject.broken}\n`);
    const begun = new Date().toISOString();
    const started = performance.now();
    const results = await run.checks(checks, subject, options, known);
    const ms = Math.round(performance.now() - started);
    const machine = `Linux ${release()} ${process.arch}, cgroup ${isCgroup2() ? "v2" : "v1"}, ${versionOf(runc)}`;
    const report: Report = { format: 1, shim: subject.shim, name, machine, begun, ms, results };
    for (const output of options.outputs) await write(output, render(report, output.format));
    if (run.interrupted) {
      await Bun.write(Bun.stderr, "interrupted: the rest of the checks was not made\n");
      return 2;
    }
    return exitStatus(results);
  } finally {
    run.close(options.keep);
  }
}

function versionOf(program: string): string {
  try {
    return Bun.spawnSync([program, "--version"]).stdout.toString().split("\n")[0] ?? program;
  } catch {
    return program;
  }
}

/** One run: its directory, its token, and its end by a signal. */
class Run {
  /** Stands in the token of each check. */
  readonly token = `conf-${process.pid.toString(36)}`;
  readonly dir = join(base, String(process.pid));
  readonly #abort = new AbortController();
  readonly #open = new Set<Context>();
  readonly #guard: Timer;
  readonly #verbose: boolean;
  #count = 0;

  constructor(verbose: boolean) {
    this.#verbose = verbose;
    mkdirSync(this.dir, { recursive: true, mode: 0o755 });
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, this.#signalled);
    process.on("unhandledRejection", leftBehind);
    this.#guard = setInterval(() => this.#endLarge(), memoryPause);
  }

  /** Kills what eats memory, and says so in the evidence of its check. */
  #endLarge(): void {
    for (const { pid, command } of findLarge(`${this.token}-`, maxMemory)) {
      const owners = [...this.#open].filter(({ token }) =>
        findLarge(token, maxMemory).some((found) => found.pid === pid),
      );
      process.kill(pid, "SIGKILL");
      for (const { transcript } of owners) {
        transcript.add(
          "note",
          `killed for having more than ${Math.round(maxMemory / 2 ** 20)} MiB of memory: process ${pid}: ${command}`,
        );
      }
    }
  }

  get interrupted(): boolean {
    return this.#abort.signal.aborted;
  }

  /** No check is begun any more, and those under way fail at once, since all that they had is gone. */
  readonly #signalled = (): void => {
    if (this.interrupted) process.exit(2);
    this.#abort.abort();
    this.close(false);
    process.exit(2);
  };

  context(subject: Subject, name: string): Context {
    const token = `${this.token}-${String(++this.#count).padStart(4, "0")}`;
    const transcript = new Transcript(
      this.#verbose ? (entry) => process.stderr.write(`${name} ${entry.ms.toFixed(1)} ${entry.text}\n`) : undefined,
    );
    const context = new Context(subject, token, this.dir, transcript);
    this.#open.add(context);
    context.defer(() => this.#open.delete(context));
    return context;
  }

  async checks(
    checks: readonly Listed<Context>[],
    subject: Subject,
    { jobs, timeout }: Options,
    known: readonly Deviation[],
  ): Promise<Result[]> {
    let done = 0;
    const progress = process.stderr.isTTY && !this.#verbose;
    const open = (check: Listed<Context>): Place<Context> => {
      const context = this.context(subject, check.id);
      const evidence = () => ({ exchanges: context.transcript.tail(quoted), log: context.log().slice(-quoted) });
      return { context, evidence, close: () => void context.close() };
    };
    const ended = ({ id }: Result): void => {
      done++;
      if (progress) process.stderr.write(`\r\u001b[K${done}/${checks.length} ${id}`);
    };
    const results = await runChecks(checks, { jobs, timeout, open, ended, signal: this.#abort.signal });
    if (progress) process.stderr.write("\r\u001b[K");
    return results.map((result) => judgeExpected(result, known));
  }

  close(keep: boolean): void {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.off(signal, this.#signalled);
    process.off("unhandledRejection", leftBehind);
    clearInterval(this.#guard);
    const noted = notedFiles(this.dir);
    sweep(`${this.token}-`, keep ? noted : [...noted, this.dir]);
  }
}

/** What became of a call that a failed check did not wait for any more is nobody's concern; all else is the kit's fault. */
function leftBehind(error: unknown): void {
  if (error instanceof ClosedError || error instanceof StatusError || error instanceof Violation) return;
  throw error;
}

/** Takes away what runs have left that were killed themselves. */
function removeDeadRuns(): void {
  if (!existsSync(base)) return;
  for (const name of readdirSync(base)) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || isAlive(pid)) continue;
    const dir = join(base, name);
    sweep(`conf-${pid.toString(36)}-`, [...notedFiles(dir), dir]);
  }
}

/** What the checks of a run have written down that lies outside its directory. */
function notedFiles(dir: string): string[] {
  const path = join(dir, "files");
  return existsSync(path) ? readFileSync(path, "utf8").split("\n").filter(Boolean) : [];
}
