/** The rows of the matrix: the environments in which the same tests run. */

import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { run } from "../lib/command.ts";
import { root } from "../lib/paths.ts";
import { scopeVariable } from "../lib/scope.ts";
import { findTool, toolDirectories } from "../lib/tools.ts";
import type { Where } from "./probe.ts";

/** One environment. */
export interface Row {
  readonly name: string;
  /** What it stands for, for a person. */
  readonly about: string;
  /** Globs of the files that run here, relative to the repository; without it all integration tests. */
  readonly files?: readonly string[];
  /** Of these files, only those whose text has it. */
  readonly having?: RegExp;
  /** Of these files, none whose path has it. */
  readonly without?: RegExp;
  /** Fetches what the row needs. Answers why it cannot run, or undefined when it can. */
  prepare(): Promise<string | undefined>;
  /** The command that runs a command in the row, within a limit; a virtual machine comes up anew for each. */
  wrap(command: readonly string[]): Wrapped;
  /** Why what was found there is not what the row stands for; undefined when it is. */
  mismatch(where: Where): string | undefined;
}

/** The tests that run in a row unless it says otherwise. */
export const allFiles: readonly string[] = ["test/integration/**/*.test.ts", "test/long/**/*.test.ts"];

/** A command and its environment. */
export interface Wrapped {
  readonly argv: string[];
  readonly env: Record<string, string | undefined>;
}

/**
 * All rows, in the order in which they run: what a suite on this machine alone shows too comes last.
 * @param share a directory of ours that virtual machines see at the same path
 */
export function allRows(share: string): readonly Row[] {
  return [
    berthd(),
    containerd("1.7"),
    containerd("2.1"),
    upgrade(["1.6", "1.7", "2.1"]),
    cgroup2("cgroup2", "pure cgroup v2 with runc (User-Mode Linux: no PSI, no cpuset)", share, {}),
    cgroup2("cgroup2-crun", "pure cgroup v2 with Debian's crun in runc's place", share, { crun: true }),
    {
      ...cgroup2("cgroup2-tcg", "pure cgroup v2 with PSI and cpuset (emulated)", share, { engine: "tcg", limit: 900 }),
      files: ["test/integration/cgroup*.test.ts"],
    },
    cgroup2("cgroup2-2.1", "pure cgroup v2 with runc and containerd 2.1", share, { version: "2.1" }),
    containerd("1.6"),
  ];
}

function absent(tool: string): string {
  return `no ${tool} in ${[...toolDirectories, "the PATH"].join(", ")}`;
}

async function fetched(argv: readonly string[]): Promise<string | undefined> {
  const result = await run(argv, { timeout: 600_000 });
  return result.exitCode === 0 ? undefined : `${argv[0]}: ${result.stderr.trim().split("\n").at(-1)}`;
}

/** The environment of every row: ours, and word that the matrix has rows for other machines. */
function environment(): Record<string, string | undefined> {
  return { ...process.env, BERTH_TEST_MATRIX: "1", FORCE_COLOR: "0", NO_COLOR: "1" };
}

/** This machine with another containerd, its ctr and its Go shims. */
function containerd(version: string): Row {
  const tool = findTool("with-containerd");
  return {
    name: `containerd-${version}`,
    about: `containerd ${version} on this machine`,
    // What berthd does has nothing to do with a containerd beside it, and clients of every version have test:ctr.
    without: /\/berthd-/,
    prepare: async () => (tool === undefined ? absent("with-containerd") : await fetched([tool, "--path", version])),
    wrap: (command) => ({
      argv: [tool ?? "", version, "--", "timeout", "--kill-after=10", "400", ...command],
      env: environment(),
    }),
    mismatch: (where) =>
      where.containerd.startsWith(`${version}.`) ? undefined : `this is containerd ${where.containerd}`,
  };
}

/** This machine with berthd in containerd's place: the tests that talk to a daemon. */
function berthd(): Row {
  return {
    name: "berthd",
    about: "berthd in containerd's place on this machine",
    having: /containerSuite\(/,
    prepare: async () => undefined,
    wrap: (command) => ({
      argv: ["timeout", "--kill-after=10", "400", ...command],
      env: { ...environment(), BERTH_TEST_DAEMON: "berthd" },
    }),
    mismatch: () => undefined,
  };
}

/** Containers that live through changes of containerd's version (RS-4). */
function upgrade(versions: readonly string[]): Row {
  const tool = findTool("with-containerd");
  const found: string[] = [];
  const first = containerd(versions[0] ?? "");
  return {
    ...first,
    name: "upgrade",
    about: `containers live on while containerd goes ${versions.join(", ")} and back`,
    files: ["test/matrix/upgrade.test.ts"],
    prepare: async () => {
      if (tool === undefined) return absent("with-containerd");
      for (const version of versions) {
        const failed = await fetched([tool, "--path", version]);
        if (failed !== undefined) return failed;
        found.push(`${version}=${(await run([tool, "--path", version], { check: true })).stdout.trim()}`);
      }
      return undefined;
    },
    wrap: (command) => {
      const { argv, env } = first.wrap(command);
      return { argv, env: { ...env, BERTH_TEST_VERSIONS: found.join(":") } };
    },
  };
}

/** What differs between the rows with cgroup v2. */
interface Machine {
  /** How the machine is made; User-Mode Linux unless told. */
  readonly engine?: "uml" | "tcg";
  /** crun answers to the name runc. */
  readonly crun?: boolean;
  /** The containerd in it; this machine's unless told. */
  readonly version?: string;
  /** Limit for one file in seconds. */
  readonly limit?: number;
}

/**
 * A virtual machine with cgroup v2 alone. crun takes runc's place by a link named runc that is first in the PATH: so
 * it serves the shim's default, whatever a test does to the options, and the tests' own calls alike. That a BinaryName
 * in the options is obeyed everywhere is a test of its own (crun.test.ts) in every row.
 */
function cgroup2(name: string, about: string, share: string, machine: Machine): Row {
  const tool = findTool("with-cgroup2");
  const { engine = "uml", crun = false, version, limit = 600 } = machine;
  const other = version === undefined ? undefined : containerd(version);
  const links = join(share, "crun");
  const flags = ["--engine", engine, "--timeout", String(limit), "--share", root, "--share", share];
  return {
    name,
    about,
    prepare: async () => {
      if (tool === undefined) return absent("with-cgroup2");
      const program = Bun.which("crun");
      if (crun && program === null) return "crun is not installed";
      if (crun) {
        mkdirSync(links, { recursive: true });
        symlinkSync(program ?? "", join(links, "runc"));
      }
      return (await other?.prepare()) ?? (await fetched([tool, "--engine", engine, "--prepare"]));
    },
    wrap: (command) => {
      const env = environment();
      // The directory of this run is not there: the tests make one of the machine's own.
      delete env[scopeVariable];
      if (crun) env["PATH"] = `${links}:${env["PATH"]}`;
      return { argv: [tool ?? "", ...flags, "--", ...(other?.wrap(command).argv ?? command)], env };
    },
    mismatch: (where) => {
      if (where.cgroup !== "v2") return "cgroup v2 is not alone there";
      if (crun !== where.runc.startsWith("crun")) return `runc is ${where.runc}`;
      if (engine === "tcg" && !(where.pressure && where.controllers.includes("cpuset"))) return "no PSI or no cpuset";
      return other?.mismatch(where);
    },
  };
}
