/** What the demonstration needs on the machine, and getting it. */

import { existsSync } from "node:fs";
import { builtBerthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";

/** A failure that one sentence tells. */
export class DemoError extends Error {
  override name = "DemoError";
}

/** Program to the package of Debian and Ubuntu that has it. */
const packages: Record<string, string> = {
  runc: "runc",
  busybox: "busybox-static",
};

/** The packages of the programs that are missing, in order and once each. */
export function missingPackages(find: (program: string) => string | null = (program) => Bun.which(program)): string[] {
  const missing = Object.keys(packages).filter((program) => find(program) === null);
  return [...new Set(missing.map((program) => packages[program] ?? program))];
}

/** The sentence for somebody who is not root. */
export function notRootSentence(missing: readonly string[]): string {
  const first =
    missing.length > 0 ? `install the missing packages (apt-get install -y ${missing.join(" ")}) and then ` : "";
  return `Containers need root: ${first}run this as root (sudo npm start).`;
}

/**
 * Sees to it that runc and busybox are there, as root by apt.
 * @param say told what is being installed
 * @throws DemoError with what to do
 */
export async function prepare(say: (line: string) => void): Promise<void> {
  const missing = missingPackages();
  if (process.getuid?.() !== 0) throw new DemoError(notRootSentence(missing));
  if (!existsSync(builtBerthd)) throw new DemoError("berth is not built: run npm run build.");
  if (missing.length === 0) return;
  if (Bun.which("apt-get") === null) {
    throw new DemoError(`Missing on this machine, and there is no apt-get to install it with: ${missing.join(", ")}.`);
  }
  say(`installing ${missing.join(" ")} with apt-get`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", ...missing];
  let result = await run(install, { env, timeout: 600_000 });
  if (result.exitCode !== 0) {
    await run(["apt-get", "update", "-qq"], { env, timeout: 300_000 });
    result = await run(install, { env, timeout: 600_000 });
  }
  const still = missingPackages();
  if (still.length > 0) {
    const why = (result.stderr || result.stdout).trim().split("\n").at(-1) ?? "";
    throw new DemoError(`apt-get could not install ${still.join(" ")}: ${why}`);
  }
}
