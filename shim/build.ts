/** Compiles the one executable into dist/ (or `--out DIR`), and makes the links of the roles that exist. */

import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { slimProtobufjs, withoutLong, withoutProtoLoader } from "../proto/codec/slim.ts";

const root = join(import.meta.dir, "..");
const { values } = parseArgs({ options: { out: { type: "string", default: join(root, "dist") } } });
const out = resolve(values.out);
/** Names of roles, each a link to the executable. */
const links = ["containerd-shim-berth-v2", "berthd"];

mkdirSync(out, { recursive: true });
const result = await Bun.build({
  entrypoints: [join(root, "shim/main.ts")],
  target: "bun",
  format: "esm",
  // A role loads its own chunks only.
  splitting: true,
  bytecode: true,
  minify: true,
  plugins: [withoutLong, slimProtobufjs, withoutProtoLoader],
  // The working directory of a shim is a bundle: nothing that lies there may be read as our configuration.
  compile: { outfile: join(out, "berth"), autoloadDotenv: false, autoloadBunfig: false },
});
for (const log of result.logs) console.error(String(log));
if (!result.success) process.exit(1);
for (const link of links) {
  rmSync(join(out, link), { force: true });
  symlinkSync("berth", join(out, link));
}
