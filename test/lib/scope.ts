/**
 * What belongs to one test run. Everything a run makes on the machine carries its token: directories and sockets in
 * their path, containers and cgroups in their namespace, processes in their environment, command line or cgroup. So
 * what is ours can be found, and two runs on one machine never take each other's things for a leak.
 */

import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { readProcess } from "./process.ts";
import { sweep } from "./sweep.ts";

/** Prefix of every token. */
export const tokenPrefix = "berth-test-";

/** A run, or one test file of a run. */
export interface Scope {
  /** Part of every name that this scope makes. */
  readonly token: string;
  /** Its directory; the path contains the token. */
  readonly dir: string;
}

const base = process.env["BERTH_TEST_TMP"] ?? "/tmp";

/** The name of the environment variable by which a run's children know their run. */
export const scopeVariable = "BERTH_TEST_RUN";

/**
 * Makes the scope of a whole run and puts it into this process's environment. The caller calls {@link closeScope}.
 */
export function openRun(): Scope {
  // Pid and start time name a process for good, and /proc tells from everywhere whether it still runs.
  const born = readProcess(process.pid)?.startTime ?? 0;
  const token = `${tokenPrefix}${process.pid}-${born.toString(36)}${runs++ > 0 ? `_${runs}` : ""}`;
  const scope = { token, dir: join(base, token) };
  mkdirSync(scope.dir, { mode: 0o755 });
  process.env[scopeVariable] = scope.dir;
  return scope;
}

let runs = 0;
let own: Scope | undefined;
let guard: Bun.Subprocess<"pipe", "inherit", "inherit"> | undefined;

/** File name of the program that cleans up after a process. */
const guardName = "guard.ts";

/**
 * The scope of this process: a part of the run that started it, or a run of its own. Whatever happens to this process,
 * its scope is swept: a guard process waits for its end.
 */
export function processScope(): Scope {
  if (own) return own;
  const run = process.env[scopeVariable];
  if (run === undefined) {
    own = openRun();
  } else {
    const dir = join(run, `p${process.pid}`);
    mkdirSync(dir, { mode: 0o755 });
    own = { token: `${run.slice(run.lastIndexOf("/") + 1)}-p${process.pid}`, dir };
  }
  guard = Bun.spawn([process.execPath, join(import.meta.dir, guardName), own.token, own.dir], {
    stdin: "pipe",
    stdout: "inherit",
    stderr: "inherit",
    cwd: "/",
    detached: true,
  });
  guard.unref();
  return own;
}

/** Notes a file that may come to be outside the scope's directory, so that {@link closeScope} removes it. */
export function noteFile(scope: Scope, path: string): void {
  appendFileSync(join(scope.dir, "noted"), `${path}\n`);
}

/** Ends and removes whatever is left of a scope. Safe to call twice. */
export function closeScope(scope: Scope): void {
  sweep([scope.token, scope.dir]);
  const notes = join(scope.dir, "noted");
  if (existsSync(notes)) {
    for (const path of readFileSync(notes, "utf8").split("\n")) if (path !== "") rmSync(path, { force: true });
  }
  rmSync(scope.dir, { recursive: true, force: true });
}
