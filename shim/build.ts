/** Compiles the one executable into dist/ (or `--out DIR`), and makes the links of the roles that exist. */

import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const root = join(import.meta.dir, "..");
const { values } = parseArgs({ options: { out: { type: "string", default: join(root, "dist") } } });
const out = resolve(values.out);
/** Names of roles, each a link to the executable. */
const links = ["containerd-shim-berth-v2"];

mkdirSync(out, { recursive: true });
const build = Bun.spawnSync(
  [
    process.execPath,
    "build",
    join(root, "shim/main.ts"),
    ...["--compile", "--splitting", "--bytecode", "--format=esm", "--minify", "--target=bun"],
    // The working directory of a shim is a bundle: nothing that lies there may be read as our configuration.
    ...["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"],
    ...["--outfile", join(out, "berth")],
  ],
  { cwd: root, stdout: "ignore", stderr: "inherit" },
);
if (build.exitCode !== 0) {
  console.error("build: bun could not compile dist/berth");
  process.exit(1);
}
for (const link of links) {
  rmSync(join(out, link), { force: true });
  symlinkSync("berth", join(out, link));
}
