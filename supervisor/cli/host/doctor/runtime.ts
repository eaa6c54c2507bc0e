/** The OCI runtime below, and the links of berth's own roles. */

import { realpathSync } from "node:fs";
import { dirname } from "node:path";
import { runtimeVersions } from "../runtimes.ts";
import { area, type Diagnosis } from "./check.ts";
import { programPath } from "./read.ts";

const { ok, warn, fail } = area("runtime");
/** The oldest runc with which everything works. */
const OLDEST = [1, 1] as const;

export async function lookAtRuntime(): Promise<Diagnosis[]> {
  const found = await runtimeVersions();
  const runc = found.find(({ name }) => name === "runc");
  const crun = found.find(({ name }) => name === "crun");
  const diagnoses: Diagnosis[] = [];
  if (runc === undefined && crun === undefined) {
    diagnoses.push(fail("runc", "neither runc nor crun is installed: no container can run", "apt-get install runc"));
  } else if (runc === undefined) {
    diagnoses.push(
      warn(
        "runc",
        `not installed; crun ${crun?.version} is`,
        'apt-get install runc, or set BinaryName = "crun" in [runtimes]',
      ),
    );
  } else {
    const [major = 0, minor = 0] = runc.version.split(".").map(Number);
    const isNew = major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
    const text = `${runc.version} (${runc.path})`;
    diagnoses.push(isNew ? ok("runc", text) : warn("runc", text, `upgrade it: ${OLDEST.join(".")} or later is tested`));
  }
  diagnoses.push(...links());
  return diagnoses;
}

/** containerd finds a runtime by the name of its shim in PATH. */
function links(): Diagnosis[] {
  const mine = realpathSync(process.execPath);
  return [
    ["daemon", "berthd"],
    ["shim", "containerd-shim-berth-v2"],
  ].map(([what = "", name = ""]) => {
    const path = programPath(name) ?? beside(name);
    if (path === undefined) {
      return warn(
        what,
        `${name} is not in PATH`,
        "berth install puts the executable and its links where containerd looks",
      );
    }
    const target = realpathSync(path);
    if (target === mine) return ok(what, path);
    return warn(
      name,
      `${path} is another berth than this one (${mine})`,
      "berth install of the newer one replaces both",
    );
  });
}

function beside(name: string): string | undefined {
  return Bun.which(name, { PATH: dirname(realpathSync("/proc/self/exe")) }) ?? undefined;
}
