import { expect } from "bun:test";
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cgroupRoots } from "../../lib/cgroup.ts";
import { isAlive } from "../../lib/process.ts";
import { processScope } from "../../lib/scope.ts";
import { testUnless } from "../../lib/skip.ts";
import { sweep } from "../../lib/sweep.ts";

const names = ["freezer.state", "cgroup.freeze"] as const;

/** Makes a cgroup that can be frozen. @returns its path; undefined where none can be made */
function makeCgroup(name: string): string | undefined {
  for (const root of process.getuid?.() === 0 ? cgroupRoots() : []) {
    const path = join(root, name);
    try {
      mkdirSync(path);
    } catch {
      continue;
    }
    if (names.some((file) => existsSync(join(path, file)))) return path;
    rmdirSync(path);
  }
  return undefined;
}

const token = `${processScope().token}-frozen`;
const cgroup = makeCgroup(token);

testUnless(
  cgroup === undefined ? "no cgroup here can be frozen" : undefined,
  "what is frozen is swept, too",
  async () => {
    const path = cgroup ?? "";
    const child = Bun.spawn(["sleep", "1000"], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
    writeFileSync(join(path, "cgroup.procs"), String(child.pid));
    for (const file of names) {
      if (existsSync(join(path, file))) writeFileSync(join(path, file), file === "cgroup.freeze" ? "1" : "FROZEN");
    }
    sweep([token]);
    await child.exited;
    expect(isAlive(child.pid)).toBe(false);
    expect(existsSync(path)).toBe(false);
  },
);
