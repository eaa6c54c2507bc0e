/** The service berth.v1.Upkeep: restarts as people see them, and the end of all containers. */

import type { RestartMonitor } from "../restart/monitor.ts";
import type { Handlers } from "./server.ts";

/** @param get throws ContainerdError NotFound for no such container */
export function upkeepService(
  monitor: RestartMonitor,
  get: (namespace: string, id: string) => unknown,
): Handlers<"berth.v1.Upkeep"> {
  return {
    Halt: () => monitor.halt(),
    Resume: async () => {
      await monitor.resume();
      return {};
    },
    DescribeRestarts({ containerId }, { namespace }) {
      get(namespace, containerId);
      const known = monitor.describe(namespace, containerId);
      if (known === undefined) return {};
      const { restarts, lastExit, lastError = "", reason = "", nextAttemptInMs, waitingFor, hasGivenUp } = known;
      return {
        ...{ restarts, lastError, reason, hasGivenUp },
        waitingFor: [...waitingFor],
        ...(lastExit === undefined ? {} : { lastExit }),
        ...(nextAttemptInMs === undefined ? {} : { nextAttemptMs: nextAttemptInMs }),
      };
    },
  };
}
