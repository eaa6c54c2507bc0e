/** What is told of containers' logs: their room, and what they have lost. */

import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { logFamilies } from "../../../../supervisor/disk/log-families.ts";
import { logFiles } from "../../../../supervisor/disk/logs.ts";

test("logs are told by container, with what was rotated and what was lost", async () => {
  const root = mkdtempSync(join(tmpdir(), "berth-logs-"));
  try {
    const write = (path: string, text: string): void => {
      mkdirSync(join(root, path, ".."), { recursive: true });
      writeFileSync(join(root, path), text);
    };
    write("default/web/web.log", "x".repeat(5000));
    write("default/web/web.log.1", "x".repeat(5000));
    write("default/web/web.log.dropped", '{"bytes":42}\n');
    write("default/web/notes.txt", "no log");
    write("default/db/db.log", "x");
    write("default/db/db.log.dropped", "damaged");
    write("elsewhere.log", "no container's");
    const [sizes, dropped] = await logFamilies([root, join(root, "nowhere")]);
    const by = (name: string) => (family: typeof sizes) =>
      family?.samples.find(({ labels }) => labels["container_id"] === name)?.value;
    expect(by("web")(sizes)).toBeGreaterThanOrEqual(10_000);
    expect([by("web")(dropped), by("db")(dropped)]).toEqual([42, 0]);
    expect((await logFiles(root)).filter(({ isRotated }) => isRotated).map(({ path }) => path)).toEqual([
      join(root, "default/web/web.log.1"),
    ]);
  } finally {
    rmSync(root, { recursive: true });
  }
});
