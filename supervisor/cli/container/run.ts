/** What `run` and `create` do. */

import { existsSync, writeFileSync } from "node:fs";
import { failedPrecondition, messageOf } from "../../../proto/errdefs.ts";
import { createContainer } from "../../container/create.ts";
import { placeOf } from "../../container/place.ts";
import { removeContainer } from "../../container/remove.ts";
import { startContainer } from "../../container/start.ts";
import type { Connection } from "../connect.ts";
import { credentialsFor } from "../image/credentials.ts";
import { shown } from "../output/escape.ts";
import { interruptible } from "../output/interrupt.ts";
import { noProgress, progressView } from "../output/progress.ts";
import { isTerminal, note, print } from "../output/terminal.ts";
import { adviceOnStart, ExitStatus, statusOfStart, USAGE } from "../status.ts";
import { type RunFlags, runOptions } from "./flags.ts";
import { runForeground } from "./foreground.ts";
import { detachKeysOf } from "./parse.ts";

/** Makes a container of flags. @returns its id @throws ContainerdError; ExitStatus when it is interrupted */
export async function create(
  { api, namespace }: Connection,
  image: string,
  args: readonly string[],
  flags: RunFlags,
): Promise<string> {
  const options = runOptions(image, args, flags);
  if (options.health != null && !(await placeOf(api)).isBerthd) {
    throw failedPrecondition("--health-cmd needs berthd, which makes the checks: leave the --health options away");
  }
  if (flags.cidfile !== undefined && existsSync(flags.cidfile)) {
    throw failedPrecondition(`--cidfile: there is a file ${flags.cidfile} already: remove it, or name another`);
  }
  const view = flags.quiet ? noProgress : progressView();
  try {
    const { id, warnings } = await interruptible((signal) =>
      createContainer(api, namespace, options, {
        signal,
        onPull: (name) => {
          if (!flags.quiet) note(`pulling ${name}\n`);
        },
        onStep: (step) => view.step({ ...step, progress: Number(step.progress), total: Number(step.total) }),
        registry: { credentials: (host) => credentialsFor(host) },
      }),
    );
    for (const warning of warnings) note(`berth: ${warning}\n`);
    if (flags.cidfile !== undefined) writeFileSync(flags.cidfile, id, { flag: "wx" });
    return id;
  } finally {
    view.end();
  }
}

/** Makes a container and starts it. @returns the exit status */
export async function run(
  connection: Connection,
  image: string,
  args: readonly string[],
  flags: RunFlags & { readonly detachKeys: string; readonly sigProxy?: string },
): Promise<number> {
  const { api, namespace } = connection;
  const { tty = false, interactive = false, detach = false, rm = false } = flags;
  const detachKeys = detachKeysOf(flags.detachKeys);
  if (tty && interactive && !detach && !isTerminal(process.stdin)) {
    throw failedPrecondition("the input is no terminal: leave -t away");
  }
  if (detach && rm && !(await placeOf(api)).isBerthd) {
    throw failedPrecondition(
      "-d with --rm needs berthd, which removes the container when it ends: leave --rm away, and berth rm it yourself",
    );
  }
  const id = await create(connection, image, args, flags);
  try {
    if (detach) {
      await startContainer(api, namespace, id);
      await print(`${id}\n`);
      return 0;
    }
    const proxy = flags.sigProxy !== "false";
    return await runForeground(api, namespace, id, { tty, stdin: interactive, detachKeys, proxy, remove: rm });
  } catch (error) {
    if (error instanceof ExitStatus) throw error;
    if (detach && rm) await removeContainer(api, namespace, id, { force: true, volumes: true }).catch(() => undefined);
    note(`berth run: ${shown(adviceOnStart(messageOf(error)))}\n`);
    throw new ExitStatus(statusOfStart(messageOf(error)) ?? USAGE);
  }
}
