/** Health checks as containers carry them. */

/** What is done when a container is unhealthy. */
export const healthActions = ["none", "restart", "stop", "kill"] as const;
export type HealthAction = (typeof healthActions)[number];

/** What the daemon says of a container's health. */
export type HealthStatus = "starting" | "healthy" | "unhealthy";

/** A health check, in Compose's spelling; times in milliseconds. */
export interface HealthConfig {
  /** `["CMD", ARG...]` or `["CMD-SHELL", TEXT]`. */
  readonly test: readonly string[];
  readonly interval: number;
  readonly timeout: number;
  /** Failures in a row that make it unhealthy. */
  readonly retries: number;
  /** Failures in this time after the start do not count. */
  readonly start_period: number;
  /** The interval within the start period. */
  readonly start_interval: number;
  readonly action: HealthAction;
}

/** Docker's defaults. */
export const healthDefaults = {
  interval: 30_000,
  timeout: 30_000,
  retries: 3,
  start_period: 0,
  start_interval: 5_000,
  action: "none",
} as const satisfies Omit<HealthConfig, "test">;
