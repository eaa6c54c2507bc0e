/** Changing applications, with what happens on the way. */

import { invalidArgument, messageOf } from "../../../proto/errdefs.ts";
import type { ResponseOf } from "../../client/api.ts";
import type { ChangeFlags } from "../apply.ts";
import type { Connection } from "../connect.ts";
import { parseDuration } from "../output/age.ts";
import { shown, shownLines } from "../output/escape.ts";
import { progressView } from "../output/progress.ts";
import { colorsFor, note, print } from "../output/terminal.ts";
import { FAILED } from "../status.ts";
import { requestsOf } from "./files.ts";

const APPLICATIONS = "berth.v1.Applications";

type Progress = ResponseOf<typeof APPLICATIONS, "Apply">;

const verbs: Readonly<Record<string, string>> = {
  network: "creating network",
  create: "creating",
  recreate: "recreating",
  update: "updating",
  start: "starting",
  remove: "removing",
  healthy: "well:",
};

/** `berth apply FILE...`. @returns the exit status */
export async function applyFiles(
  connection: Connection,
  files: readonly string[],
  flags: ChangeFlags,
): Promise<number> {
  const { api, namespace } = connection;
  const requests = await requestsOf(files, flags.name);
  const timeoutMs = timeoutOf(flags);
  let status = 0;
  for (const request of requests) {
    const all = { ...request, timeoutMs, noRollback: flags.rollback === false };
    try {
      await follow(api.stream(APPLICATIONS, "Apply", all, { namespace }), flags);
    } catch (error) {
      // Others are applied all the same.
      if (requests.length === 1) throw error;
      note(`berth apply: ${shownLines(messageOf(error))}\n`);
      status = FAILED;
    }
  }
  return status;
}

/** `berth rollback APP [REVISION]`. */
export async function rollback(
  { api, namespace }: Connection,
  name: string,
  revision: string | undefined,
  flags: ChangeFlags,
): Promise<void> {
  if (revision !== undefined && !/^[1-9]\d{0,8}$/.test(revision)) {
    throw invalidArgument(`${JSON.stringify(revision)} is no revision: berth apps show ${name} lists them`);
  }
  const request = { name, revision: Number(revision ?? 0), timeoutMs: timeoutOf(flags) };
  await follow(api.stream(APPLICATIONS, "Rollback", request, { namespace }), flags);
}

/** `berth apps rm APP...`. */
export async function removeApplications(
  { api, namespace }: Connection,
  names: readonly string[],
  { volumes = false, quiet = false }: { volumes?: boolean; quiet?: boolean },
): Promise<void> {
  for (const name of names) {
    await follow(api.stream(APPLICATIONS, "Remove", { name, volumes }, { namespace }), { quiet });
    if (!quiet) await print(`${shown(name)}\n`);
  }
}

/** Tells what happens, until all of it has; with `--no-wait` until the daemon goes on by itself. */
async function follow(stream: AsyncGenerator<Progress>, { quiet = false, wait = true }: ChangeFlags): Promise<void> {
  const view = progressView();
  const colors = colorsFor(process.stderr);
  const say = (line: string): void => {
    if (quiet) return;
    view.end();
    note(`${line}\n`);
  };
  try {
    for await (const { step, id, message, blob, done, total, application } of stream) {
      const more = message === "" ? "" : ` (${shown(message)})`;
      if (step === "pull") {
        if (!quiet) view.step({ event: message, name: blob, progress: Number(done), total: Number(total) });
      } else if (step === "begin") {
        if (wait) continue;
        await print(`${shown(id)}: ${shown(message)} is being applied: berth apps show ${shown(id)}\n`);
        return;
      } else if (step === "failed") say(colors.red(`failed: ${shown(message)}`));
      else if (step === "rollback") say(colors.yellow(`going back ${shown(message)}`));
      else if (step === "done") {
        if (application) await print(`${summaryOf(application)}\n`);
      } else if (verbs[step] !== undefined) say(`${verbs[step]} ${shown(id)}${more}`);
      else say(shownLines(message));
    }
  } finally {
    view.end();
  }
}

function summaryOf({ name, revision, state, containers }: NonNullable<Progress["application"]>): string {
  const running = (containers ?? []).filter(({ status }) => status === "running").length;
  return `${shown(name ?? "")}: revision ${revision}, ${state}, ${running} of ${(containers ?? []).length} containers run`;
}

function timeoutOf({ timeout }: ChangeFlags): number {
  if (timeout === undefined) return 0;
  const ms = /^\d+$/.test(timeout) ? Number(timeout) * 1000 : parseDuration(timeout);
  if (ms === undefined || ms <= 0 || ms > 86_400_000) {
    throw invalidArgument(`--timeout ${JSON.stringify(timeout)}: a time such as 90s or 5m, at most a day`);
  }
  return ms;
}
