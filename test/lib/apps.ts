/** Applications in tests: a berthd that watches a directory of ours, and `berth` to ask it. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Berthd } from "./berthd.ts";
import { type CommandOptions, type Result, run } from "./command.ts";
import type { Daemon, DaemonOptions } from "./daemon.ts";
import { NetnsBerthd } from "./netns.ts";
import { dist } from "./paths.ts";
import { allProcesses } from "./process.ts";
import { waitFor } from "./wait.ts";

/** The directory that the daemon watches. */
export function appsDirectory(daemon: Pick<Daemon, "dir">): string {
  return join(daemon.dir, "apps");
}

/** `[apps]` of a daemon whose times are short. */
function configuration(dir: string, namespace: string): string {
  const apps = appsDirectory({ dir });
  mkdirSync(apps, { recursive: true });
  const [directory, name] = [JSON.stringify(apps), JSON.stringify(namespace)];
  return `[apps]\ndirectory = ${directory}\nnamespace = ${name}\nstable = "700ms"\nstart_timeout = "20s"\n`;
}

/** For `containerSuite`: the services of its applications have no networks. */
export function makeAppsDaemon(dir: string, namespace: string, options: DaemonOptions = {}): Berthd {
  const text = configuration(dir, namespace);
  const path = join(dir, "berth.toml");
  writeFileSync(path, text);
  return new Berthd(dir, namespace, { ...options, env: { ...options.env, BERTH_CONFIG: path } });
}

/** For `containerSuite`: in a network namespace of its own. */
export function makeNetworkedAppsDaemon(dir: string, namespace: string, options: DaemonOptions = {}): NetnsBerthd {
  const text = configuration(dir, namespace);
  const daemon = new NetnsBerthd(dir, namespace, options);
  daemon.network = text;
  return daemon;
}

/** Runs `berth` against a daemon. */
export function berth(daemon: Daemon, args: readonly string[], options: CommandOptions = {}): Promise<Result> {
  const program = [join(dist, "berth"), "--address", daemon.address, "--namespace", daemon.namespace];
  return run([...program, ...args], { timeout: 60_000, ...options, env: { ...daemon.ctrEnv(), ...options.env } });
}

/** An application as `berth apps show --format json` tells it. */
export interface ShownApp {
  readonly Name: string;
  readonly State: string;
  readonly Revision: number;
  readonly GoodRevision: number;
  readonly File: string;
  readonly Error: string;
  readonly Containers: readonly { ID: string; Service: string; Status: string; Health: string; Revision: number }[];
  readonly Revisions: readonly { Number: number; State: string; Reason: string }[];
}

/** What an application is at; undefined when there is none. */
export async function showApp(daemon: Daemon, name: string): Promise<ShownApp | undefined> {
  const { stdout, exitCode } = await berth(daemon, ["apps", "show", name, "--format", "json"]);
  return exitCode === 0 ? (JSON.parse(stdout) as ShownApp) : undefined;
}

/** Waits until an application is in a state. */
export async function appIs(daemon: Daemon, name: string, wanted: (app: ShownApp) => boolean): Promise<ShownApp> {
  let last: ShownApp | undefined;
  await waitFor(
    `application ${name}`,
    async () => {
      last = await showApp(daemon, name);
      return last !== undefined && wanted(last);
    },
    { timeout: 60_000, interval: 150 },
  ).catch((error: unknown) => {
    throw new Error(`${(error as Error).message}: ${JSON.stringify(last)}`);
  });
  return last as ShownApp;
}

/** The pid of a container's first process; 0 when it has none. */
export async function pidOf(daemon: Daemon, id: string): Promise<number> {
  const { stdout } = await daemon.ctr(["tasks", "ls"], { check: true });
  const row = stdout.split("\n").find((line) => line.trim().split(/\s+/)[0] === id);
  return Number(row?.trim().split(/\s+/)[1] ?? 0);
}

/** The pids of a container's shims. */
export function shimsOf(daemon: Daemon, id: string): number[] {
  return allProcesses()
    .filter(({ argv }) => argv.includes(daemon.namespace) && argv.includes(id) && argv.includes("-id"))
    .map(({ pid }) => pid);
}
