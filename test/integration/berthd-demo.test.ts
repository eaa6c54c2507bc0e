/** `npm start`: what a person sees first. */

import { expect } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { run } from "../lib/command.ts";
import { root, whyNoContainers } from "../lib/paths.ts";
import { processScope } from "../lib/scope.ts";
import { testUnless } from "../lib/skip.ts";

testUnless(
  whyNoContainers(),
  "the demonstration runs a container without containerd and its ctr, ends with 0 and leaves nothing",
  async () => {
    // Only what berth itself needs, and a shell.
    const bin = join(processScope().dir, "demo-bin");
    mkdirSync(bin);
    for (const name of ["busybox", "cat", "mkfifo", "mount", "runc", "sh", "umount"]) {
      symlinkSync(Bun.which(name) ?? "", join(bin, name));
    }
    const env = { ...process.env, PATH: bin };
    const result = await run([process.execPath, join(root, "test/demo/main.ts")], { env, timeout: 60_000 });
    expect(result.stderr).toBe("");
    expect(result.exitCode).toBe(0);
    expect(result.stdout).toContain("Hello from a container. I am process 1 of:");
    expect(result.stdout).toContain("Thank you, and goodbye.");
    const topics = [...result.stdout.matchAll(/ (\/tasks\/[a-z-]+)/g)].map(([, topic]) => topic);
    expect(topics).toEqual(
      ["create", "start", "exec-added", "exec-started", "exit", "exit", "delete"].map((name) => `/tasks/${name}`),
    );
    expect(result.stdout).toMatch(/└─ the shim +\d+/);
  },
  60_000,
);
