/** The files of a log, while the shim renames them. */

import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openAll } from "../../../../supervisor/logs/files.ts";

/** Renames as the shim does, as fast as it goes; each file says how many were before it. */
const renaming = `
const { existsSync, renameSync, rmSync, writeFileSync } = require("node:fs");
const [path, most] = [process.argv[1], 40];
for (let count = 0; ; count++) {
  rmSync(path + "." + most, { force: true });
  for (let n = most - 1; n >= 0; n--) {
    const from = n === 0 ? path : path + "." + n;
    if (existsSync(from)) renameSync(from, path + "." + (n + 1));
  }
  writeFileSync(path + ".new", String(count));
  renameSync(path + ".new", path);
}
`;

test("R28: all files of a log are opened in their order, and each once, while they are renamed", async () => {
  const dir = mkdtempSync(join(tmpdir(), "berth-log-files-"));
  const path = join(dir, "c.log");
  const child = Bun.spawn([process.execPath, "-e", renaming, path], { stdout: "inherit", stderr: "inherit" });
  try {
    let most = 0;
    for (const end = Date.now() + 1_500; Date.now() < end || most < 30; ) {
      const parts = await openAll(path);
      const numbers: number[] = [];
      for (const { handle } of parts) {
        numbers.push(Number(readFileSync(handle.fd, "utf8")));
        await handle.close();
      }
      const first = numbers[0] ?? 0;
      expect(numbers).toEqual(numbers.map((_, index) => first + index));
      most = Math.max(most, numbers.length);
    }
  } finally {
    child.kill("SIGKILL");
    await child.exited;
    rmSync(dir, { recursive: true, force: true });
  }
}, 30_000);
