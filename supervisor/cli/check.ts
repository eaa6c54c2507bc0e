/**
 * `berth check`: sees whether everything that the daemon has on record is there. A daemon that runs is asked for its
 * records; otherwise its database is read, and no daemon can start meanwhile.
 */

import { Database as Sqlite } from "bun:sqlite";
import { parseArgs } from "node:util";
import { checkAll, checkLive } from "../check/check.ts";
import { type Finding, lineOf } from "../check/finding.ts";
import { type CheckRecords, readRecords } from "../check/records.ts";
import { type Config, ConfigError, debugAddress, flagOptions, loadConfig } from "../config.ts";
import { claimDatabase } from "./database.ts";

const usage = `usage: berth check [--config FILE] [--root DIR] [--state DIR] [--verify] [--repair] [--notes] [--json]

  --verify   read every blob, and compare its digest
  --repair   put right what can be: fetch blobs again from where they came, unpack layers anew; tell what was done
  --notes    tell of waste too, which the daemon removes by itself
`;
/** How long what may be under way just now has to be over. */
const SECOND_LOOK_MS = 2000;
/** How long a daemon may take to tell its records. */
const ASK_MS = 60_000;

interface Result {
  readonly findings: readonly Finding[];
  readonly records: CheckRecords;
}

/** @returns the exit status: 1 when something is wrong, 2 when it cannot be checked */
export async function check(args: readonly string[]): Promise<number> {
  if (args.some((arg) => arg === "--help" || arg === "-h")) {
    await Bun.write(Bun.stdout, usage);
    return 0;
  }
  try {
    const { values } = parse(args);
    const config = loadConfig(values);
    if (values.repair) {
      const { verify = false, json = false } = values;
      return await (await import("./repair.ts")).repairAndTell(config, { verify, json });
    }
    const begun = performance.now();
    const { findings, records } = await run(config, values.verify ?? false);
    const errors = findings.filter(({ severity }) => severity === "error");
    const shown = values.notes ? findings : errors;
    if (values.json) {
      await Bun.write(Bun.stdout, `${JSON.stringify({ errors: errors.length, findings: shown }, undefined, 2)}\n`);
    } else {
      const lines = shown.map((finding) => `${lineOf(finding)}\n`).join("");
      await Bun.write(Bun.stdout, `${lines}${summary(records, findings, errors.length, performance.now() - begun)}\n`);
    }
    return errors.length > 0 ? 1 : 0;
  } catch (error) {
    const hint = error instanceof ConfigError ? `\n${usage}` : "\n";
    await Bun.write(Bun.stderr, `berth check: ${(error as Error).message}${hint}`);
    return 2;
  }
}

function parse(args: readonly string[]) {
  const options = {
    ...flagOptions,
    verify: { type: "boolean" },
    repair: { type: "boolean" },
    notes: { type: "boolean" },
    json: { type: "boolean" },
  } as const;
  try {
    return parseArgs({ args: [...args], options });
  } catch (error) {
    throw new ConfigError((error as Error).message);
  }
}

async function run(config: Config, verify: boolean): Promise<Result> {
  const { root, state } = config;
  const options = { root, state, verify };
  const { path, lock } = claimDatabase(root);
  if (lock === undefined) return checkLive(() => ask(config), options, SECOND_LOOK_MS);
  try {
    const { records, findings } = readDatabase(path);
    return { records, findings: [...findings, ...(await checkAll(records, options))] };
  } finally {
    lock.release();
  }
}

/** The records of the daemon that runs. */
async function ask(config: Config): Promise<CheckRecords> {
  const unix = debugAddress(config);
  const help = `a daemon has ${config.root}, but does not answer at ${unix}`;
  const answer = await fetch("http://berthd/debug/records", { unix, signal: AbortSignal.timeout(ASK_MS) }).catch(
    (error: Error) => {
      throw new Error(`${help}: ${error.message}`);
    },
  );
  if (!answer.ok) throw new Error(`${help}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as CheckRecords;
}

function readDatabase(path: string): Result {
  const sqlite = new Sqlite(path, { strict: true });
  try {
    sqlite.run("PRAGMA query_only = ON");
    const problems = sqlite.query<{ integrity_check: string }, []>("PRAGMA integrity_check").all();
    const findings = problems
      .filter(({ integrity_check: problem }) => problem !== "ok")
      .map(({ integrity_check: problem }): Finding => {
        return { severity: "error", area: "database", subject: path, problem };
      });
    const records = readRecords({
      all: <Row>(sql: string) => sqlite.query<Row, []>(sql).all(),
      transaction: <T>(body: () => T): T => sqlite.transaction(body)(),
    });
    return { findings, records };
  } catch (error) {
    throw new Error(`cannot read ${path}: ${(error as Error).message}`);
  } finally {
    sqlite.close();
  }
}

function summary(records: CheckRecords, findings: readonly Finding[], errors: number, ms: number): string {
  const { blobs, images, snapshots, containers } = records;
  const counts = `${images.length} images, ${blobs.length} blobs, ${snapshots.length} snapshots, ${containers.length} containers`;
  const notes = findings.length - errors;
  const waste = notes > 0 ? `, ${notes} notes (--notes)` : "";
  return `${counts}: ${errors === 0 ? "nothing wrong" : `${errors} wrong`}${waste}, in ${Math.round(ms)} ms`;
}
