/** Metrics of restarts and health checks. */

import type { HealthRoom } from "../health/room.ts";
import type { RestartMonitor } from "../restart/monitor.ts";
import { type Family, single } from "./text.ts";

const statuses = ["starting", "healthy", "unhealthy"] as const;

/** What Prometheus is told of restarts and health. */
export function healthFamilies(
  monitor: Pick<RestartMonitor, "counts" | "descriptions">,
  health: Pick<HealthRoom, "counts" | "standings">,
): Family[] {
  const { started, failed, waiting } = monitor.counts;
  const labelsOf = (namespace: string, id: string) => ({ namespace, container_id: id });
  const known = [...monitor.descriptions()];
  const standings = [...health.standings()];
  return [
    {
      name: "berth_restarts_total",
      type: "counter",
      help: "Starts that the daemon made by itself, by how they went.",
      samples: [
        { labels: { result: "success" }, value: started },
        { labels: { result: "failure" }, value: failed },
      ],
    },
    single("berth_containers_waiting", "gauge", "Containers that wait for others before they start.", waiting),
    {
      name: "berth_container_restarts_total",
      type: "counter",
      help: "Starts of a container that the daemon made by itself.",
      samples: known.map(({ namespace, id, restarts }) => ({ labels: labelsOf(namespace, id), value: restarts })),
    },
    {
      name: "berth_container_given_up",
      type: "gauge",
      help: "1 for a container whose restart policy has no start left.",
      samples: known.map(({ namespace, id, hasGivenUp }) => ({
        labels: labelsOf(namespace, id),
        value: hasGivenUp ? 1 : 0,
      })),
    },
    {
      name: "berth_health_checks_total",
      type: "counter",
      help: "Health checks that were made, by how they went.",
      samples: Object.entries(health.counts).map(([result, value]) => ({ labels: { result }, value })),
    },
    {
      name: "berth_container_health",
      type: "gauge",
      help: "1 for the health that a running container with a check has, 0 for the others.",
      samples: standings.flatMap(({ namespace, id, status }) =>
        statuses.map((one) => ({
          labels: { ...labelsOf(namespace, id), status: one },
          value: one === status ? 1 : 0,
        })),
      ),
    },
    {
      name: "berth_container_health_failing_streak",
      type: "gauge",
      help: "Health checks of a container that failed in a row.",
      samples: standings.map(({ namespace, id, streak }) => ({ labels: labelsOf(namespace, id), value: streak })),
    },
  ];
}
