/** Which criu the tests can run: Debian 12's own fails on newer kernels, Debian sid's brings its libraries along. */

import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { run } from "./command.ts";
import { root } from "./paths.ts";

/** A criu that can checkpoint on this machine. */
export interface Criu {
  /** Such as "4.2.1". */
  readonly version: string;
  /** Where its executable is. */
  readonly directory: string;
  /** For a person: the version and where it came from. */
  readonly origin: string;
}

/** The directories of PATH that have no criu. */
export function pathWithoutCriu(): string {
  const all = (process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin").split(delimiter);
  return all.filter((path) => Bun.which("criu", { PATH: path }) === null).join(delimiter);
}

async function version(criu: string): Promise<string> {
  return /Version: (\S+)/.exec((await run([criu, "--version"])).stdout)?.[1] ?? "unknown";
}

async function works(criu: string): Promise<boolean> {
  return (await run([criu, "check"])).exitCode === 0;
}

/**
 * The installed criu if it works here, else Debian sid's, fetched into ~/.cache once.
 * @returns a text that says why there is none
 */
export async function findCriu(): Promise<Criu | string> {
  const installed = Bun.which("criu");
  let why = "criu is not installed";
  if (installed !== null) {
    const own = await version(installed);
    if (await works(installed))
      return { version: own, directory: dirname(installed), origin: `criu ${own}, installed` };
    why = `the installed criu ${own} fails its own check on this kernel`;
  }
  const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "berth-test", "criu");
  const program = join(root, "test/fixtures/programs/fetch-criu.sh");
  const fetched = await run([program, cache], { timeout: 120_000 }).catch((error: Error) => error);
  if (fetched instanceof Error) return `${why}, and Debian's newest cannot be fetched: ${fetched.message}`;
  const directory = fetched.stdout.trim();
  const criu = join(directory, "criu");
  if (fetched.exitCode !== 0) return `${why}, and Debian's newest cannot be fetched: ${fetched.stderr.trim()}`;
  const own = await version(criu);
  if (!(await works(criu))) return `${why}, and so does Debian sid's ${own}`;
  return { version: own, directory, origin: `criu ${own} of Debian sid (${why})` };
}
