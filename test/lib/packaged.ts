/** Programs of Debian packages that need not be installed: they are fetched into ~/.cache once and only unpacked. */

import { homedir } from "node:os";
import { join } from "node:path";
import { run } from "./command.ts";
import { root } from "./paths.ts";

/**
 * The path of a program: the installed one, or else that of the packages.
 * @param program its name
 * @param packages Debian packages that hold it and the libraries that it needs
 * @returns an Error that says why it cannot be had
 */
export async function findPackaged(program: string, packages: readonly string[]): Promise<string | Error> {
  const installed = Bun.which(program, { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" });
  if (installed !== null) return installed;
  const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "berth-test", "packages");
  const script = join(root, "test/fixtures/programs/fetch-packages.sh");
  const fetched = await run([script, cache, ...packages], { timeout: 120_000 }).catch((error: Error) => error);
  if (fetched instanceof Error) return new Error(`${program} is not installed, and ${fetched.message}`);
  const path = join(fetched.stdout.trim(), "bin");
  const found = fetched.exitCode === 0 ? Bun.which(program, { PATH: path }) : null;
  if (found !== null) return found;
  return new Error(`${program} is not installed and cannot be fetched: ${fetched.stderr.trim().split("\n").at(-1)}`);
}
