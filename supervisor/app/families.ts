/** What Prometheus is told of applications. */

import type { berth } from "../../proto/gen/supervisor.js";
import { type Family, single } from "../metrics/text.ts";
import type { Counts } from "./applications.ts";

const states = ["running", "degraded", "applying", "stopped", "failed", "rolled-back", "invalid", "waiting"];

/** The families of all applications. */
export function appFamilies(applications: readonly berth.v1.Application.$Properties[], counts: Counts): Family[] {
  return [
    {
      name: "berth_applications",
      type: "gauge",
      help: "Applications by state.",
      samples: states.map((state) => ({
        labels: { state },
        value: applications.filter((one) => one.state === state).length,
      })),
    },
    {
      name: "berth_application_revision",
      type: "gauge",
      help: "The revision that an application is at.",
      samples: applications.flatMap(({ name, revision }) =>
        name && revision ? [{ labels: { application: name }, value: revision }] : [],
      ),
    },
    {
      name: "berth_application_ok",
      type: "gauge",
      help: "1 when the last change of an application went well and it is as it should be.",
      samples: applications.flatMap(({ name, state }) =>
        name ? [{ labels: { application: name }, value: state === "running" || state === "stopped" ? 1 : 0 }] : [],
      ),
    },
    {
      name: "berth_application_applied_timestamp_seconds",
      type: "gauge",
      help: "When an application was changed last.",
      samples: applications.flatMap(({ name, appliedAt }) =>
        name && appliedAt ? [{ labels: { application: name }, value: Number(appliedAt.seconds ?? 0) }] : [],
      ),
    },
    single(
      "berth_application_applies_total",
      "counter",
      "Versions that were brought about and were well.",
      counts.applied,
    ),
    single("berth_application_failures_total", "counter", "Versions that were not well.", counts.failed),
    single("berth_application_rollbacks_total", "counter", "Returns to an earlier revision.", counts.rolledBack),
  ];
}
