/** What is done with a container that is unhealthy. */

import type { HealthAction } from "../container/health.ts";
import { restartLabels } from "../restart/policy.ts";
import type { ContainerRecord } from "../restart/start.ts";
import { atOnce, endTask, politeStopOf } from "../restart/stop.ts";
import type { Checked } from "./checked.ts";
import type { Outcome } from "./standing.ts";

/** How actions are done. */
export interface Actions {
  get(namespace: string, id: string): ContainerRecord;
  label(namespace: string, id: string, labels: Record<string, string>): Promise<void>;
  /** Ends the task and starts it again, whatever the policy says, with the restart monitor's waits. */
  restart(namespace: string, id: string, reason: string, wasWell: boolean): Promise<void>;
}

/** Of a check's output, this much is told as the reason. */
const MAX_REASON = 200;

/** Does what a configuration asks for. @throws ContainerdError */
export async function act(
  action: HealthAction,
  { task, standing }: Pick<Checked, "task" | "standing">,
  outcome: Outcome,
  actions: Actions,
): Promise<void> {
  const { namespace, id } = task;
  switch (action) {
    case "restart":
      await actions.restart(namespace, id, reasonOf(outcome), standing.hasSucceeded);
      return;
    case "stop": {
      const { labels } = actions.get(namespace, id);
      // As a person would stop it: neither its policy nor the next boot starts it again.
      if (Object.hasOwn(labels, restartLabels.status)) {
        await actions.label(namespace, id, {
          [restartLabels.status]: "stopped",
          [restartLabels.explicitlyStopped]: "true",
        });
      }
      await endTask(task, politeStopOf(labels));
      return;
    }
    case "kill":
      // What comes after that is its restart policy's affair.
      await endTask(task, atOnce);
      return;
    case "none":
  }
}

function reasonOf({ result, exitCode, output }: Outcome): string {
  const what = result === "timeout" ? "its check takes too long" : `its check fails with status ${exitCode}`;
  const text = output.trim().slice(-MAX_REASON).replace(/\s+/g, " ");
  return `it is unhealthy: ${what}${text === "" ? "" : ` (${text})`}`;
}
