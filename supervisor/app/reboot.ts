/** After a power cut: containers that ran and whose policy would leave them ended are started once more. */

import { messageOf } from "../../proto/errdefs.ts";
import { labels as names } from "../container/labels.ts";
import type { Log } from "../log/log.ts";
import { LAST_EXIT_LABEL, RUNNING } from "../restart/policy.ts";
import type { Machine } from "./machine.ts";
import type { AppState } from "./state.ts";

/**
 * A file says what is to run: a service without `restart` is left ended when it ends by itself, but not when the machine
 * was switched off under it.
 */
export async function restartInterrupted(machine: Machine, states: readonly AppState[], log: Log): Promise<void> {
  for (const { name, namespace } of states) {
    try {
      for (const { id, labels } of await machine.containers(namespace, name)) {
        if (labels[LAST_EXIT_LABEL] !== RUNNING || labels[names.restart.status] !== "running") continue;
        const { status } = await machine.status(namespace, id);
        if (status === "running" || status === "paused") continue;
        log.info("a container that was interrupted is started again", { app: name, id });
        await machine.start(namespace, id);
      }
    } catch (error) {
      log.error(`containers of application ${name} cannot be looked at: ${messageOf(error)}`);
    }
  }
}
