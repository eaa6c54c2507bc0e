/**
 * Generates protobuf modules from our .proto files into proto/gen (not committed): rows of data that proto/codec/message.ts
 * encodes and decodes by, with the declarations that pbjs writes for its static code, which they behave like; and the
 * table of the daemon's services.
 */

import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Glob } from "bun";
import { modules, parse, runPbjs } from "./codec/pbjs.ts";
import { moduleText } from "./codec/rows.ts";
import { serviceDeclarations, serviceTable } from "./codec/services.ts";

const root = import.meta.dir;
const out = join(root, "gen");

/** True when every generated file is newer than every source and what generates it. */
function isFresh(): boolean {
  const sources = [
    import.meta.path,
    // Two patterns: Bun finds nothing by one that has braces around a `**`.
    ...["**/*.proto", "codec/*.ts"]
      .flatMap((pattern) => [...new Glob(pattern).scanSync(root)])
      .map((p) => join(root, p)),
  ];
  const newest = Math.max(...sources.map((p) => statSync(p).mtimeMs));
  const names = [...Object.keys(modules), "services"];
  return names.every((name) =>
    [".js", ".d.ts"].every((end) => {
      const file = statSync(join(out, name + end), { throwIfNoEntry: false });
      return file !== undefined && file.mtimeMs > newest;
    }),
  );
}

/** pbjs types 64-bit numbers with a CommonJS import that an ES module cannot have; ours is the same shape. */
function declarations(text: string): string {
  const long = "type Long = { low: number; high: number; unsigned: boolean };";
  return text.replace('import Long = require("long");', long);
}

/** Makes one module. */
async function generate(temporary: string, name: string, files: readonly string[]): Promise<void> {
  const target = join(temporary, `${name}.js`);
  const types = join(temporary, `${name}.d.ts`);
  await runPbjs(target, `berth-${name}`, files);
  writeFileSync(target, moduleText(parse(files), "../codec/message.ts"));
  writeFileSync(types, declarations(readFileSync(types, "utf8")));
  renameSync(types, join(out, `${name}.d.ts`));
  renameSync(target, join(out, `${name}.js`));
}

if (!isFresh()) {
  mkdirSync(out, { recursive: true });
  // Whole files only take the place of old ones: tests and builds may be reading them.
  const temporary = mkdtempSync(join(out, "tmp-"));
  try {
    await Promise.all(Object.entries(modules).map(([name, files]) => generate(temporary, name, files)));
    const daemon = parse(modules["supervisor"] ?? []);
    for (const [end, text] of [
      ["d.ts", serviceDeclarations(daemon, "./supervisor.js")],
      ["js", serviceTable(daemon, "./supervisor.js")],
    ] as const) {
      writeFileSync(join(temporary, `services.${end}`), text);
      renameSync(join(temporary, `services.${end}`), join(out, `services.${end}`));
    }
  } catch (error) {
    console.error(`generate: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}
