/**
 * The verbs of `berth` on berthd and on a real containerd: which of them need nothing of berthd's own.
 *
 * Usage: bun test/verbs/main.ts [--only REGEXP] [--readme] [--verbose]
 *
 * The last line is `N passed, N failed, N skipped`; a row counts once for each daemon. What needs berthd must say so on
 * containerd, in one line.
 */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { Daemon } from "../lib/daemon.ts";
import { imageName, writeImageArchive } from "../lib/image.ts";
import { isolate, isolated } from "../lib/isolate.ts";
import { dist, root, whyNoContainers } from "../lib/paths.ts";
import { Registry } from "../lib/registry.ts";
import { summary, type Tally } from "../lib/runner/tally.ts";
import { closeScope, openRun } from "../lib/scope.ts";
import { type Call, type Row, rows } from "./rows.ts";
import { intoReadme, table } from "./table.ts";

const { values: options } = parseArgs({
  options: {
    only: { type: "string" },
    readme: { type: "boolean", default: false },
    verbose: { type: "boolean", default: false },
  },
});

/** What a verb says of a daemon that lacks what it needs. */
const sayings = { berthd: /needs? berthd/, "containerd 1.7": /needs containerd 1\.7 or later, or berthd/ } as const;

/** How a row went on one daemon. */
export interface Outcome {
  readonly row: Row;
  /** What did not come out as it should, with the words; undefined when all did. */
  readonly problem: string | undefined;
}

if (!isolated()) process.exit(await isolate());

const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
const impossible = whyNoContainers();
if (impossible !== undefined) {
  console.log(`SKIP all: ${impossible}`);
  tally.skipped += rows.length;
} else {
  const scope = openRun();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      closeScope(scope);
      process.exit(1);
    });
  }
  try {
    await compare(scope.dir, scope.token);
  } finally {
    closeScope(scope);
  }
}
console.log(summary(tally));
process.exit(tally.failed > 0 ? 1 : 0);

async function compare(dir: string, token: string): Promise<void> {
  const registry = new Registry(join(dir, "registry"));
  const none = await registry.start();
  if (none !== undefined) throw new Error(`no registry: ${none}`);
  const wanted = rows.filter(({ name }) => options.only === undefined || new RegExp(options.only).test(name));
  const daemons = [new Berthd(join(dir, "b"), `${token}-b`), new Daemon(join(dir, "c"), `${token}-c`)];
  const columns: { name: string; outcomes: Outcome[] }[] = [];
  try {
    for (const daemon of daemons) {
      const isBerthd = daemon instanceof Berthd;
      await daemon.start();
      const files = filesFor(join(daemon.dir, "files"));
      await daemon.importImage();
      const name = isBerthd ? "berthd" : `containerd ${await versionOf()}`;
      const outcomes: Outcome[] = [];
      for (const row of wanted) {
        const problem = await play(daemon, row, { DIR: files, REGISTRY: registry.host, IMAGE: imageName });
        const need = isBerthd ? undefined : row.needs;
        const isRight = need === undefined ? problem === undefined : sayings[need].test(problem ?? "");
        tally[isRight ? "passed" : "failed"]++;
        outcomes.push({ row, problem });
        if (!isRight) console.log(`(fail) ${row.name} on ${name}: ${problem ?? `it should say that it needs ${need}`}`);
        else if (options.verbose) console.log(`${row.name} on ${name}: ${problem ?? "works"}`);
      }
      columns.push({ name, outcomes });
    }
  } finally {
    for (const daemon of daemons) await daemon.stop();
    registry.stop();
  }
  const lines = table(columns);
  console.log(lines.join("\n"));
  if (options.readme) {
    const path = join(root, "README.md");
    writeFileSync(path, intoReadme(readFileSync(path, "utf8"), lines));
  }
}

/** What calls copy, mount and apply. */
function filesFor(dir: string): string {
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, "file"), "content\n");
  const service = `image: ${imageName}\n    command: ["sleep", "1000"]\n    network_mode: none`;
  writeFileSync(join(dir, "app.yaml"), `name: verbs\nservices:\n  one:\n    ${service}\n`);
  writeImageArchive(join(dir, "image.tar"));
  return dir;
}

async function versionOf(): Promise<string> {
  const { stdout } = await run(["containerd", "--version"]);
  return /\d+\.\d+\.\d+/.exec(stdout)?.[0] ?? "";
}

/** Makes the calls of a row, in order. @returns what did not come out as it should */
async function play(daemon: Daemon, row: Row, words: Readonly<Record<string, string>>): Promise<string | undefined> {
  let problem: string | undefined;
  for (const call of row.calls) {
    if (problem !== undefined && !call.tidies) continue;
    problem ??= await make(daemon, call, words);
  }
  return problem;
}

async function make(
  daemon: Daemon,
  { args, exit = 0, says, tidies, lasts }: Call,
  words: Readonly<Record<string, string>>,
): Promise<string | undefined> {
  const filled = args.map((arg) =>
    Object.entries(words).reduce((text, [word, value]) => text.replace(word, value), arg),
  );
  const argv = [join(dist, "berth"), "--address", daemon.address, "--namespace", daemon.namespace, ...filled];
  const env = { ...daemon.ctrEnv(), PATH: `${dist}:${process.env["PATH"]}` };
  const { exitCode, stdout, stderr, timedOut } = await run(argv, { timeout: lasts ?? 60_000, env });
  if (tidies || (lasts !== undefined && timedOut)) return undefined;
  const told = `berth ${filled.join(" ")}: exit status ${exitCode}: ${(stderr || stdout).trim().split("\n").at(-1)}`;
  if (exitCode !== exit) return told;
  return says === undefined || says.test(stdout) ? undefined : `${told}; ${says} was expected`;
}
