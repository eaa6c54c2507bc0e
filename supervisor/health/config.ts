/** Reading the label that says how a container is checked. It comes from a client: every value is bounded. */

import { messageOf } from "../../proto/errdefs.ts";
import { type HealthAction, type HealthConfig, healthActions, healthDefaults } from "../container/health.ts";

/** Shortest interval and timeout, in milliseconds: a check costs a process. */
const MIN_MS = 100;
/** Longest of all times: what a timer can hold. */
const MAX_MS = 2 ** 31 - 1;
const MAX_RETRIES = 1_000_000;

/**
 * Reads a label.
 * @returns undefined for a container that is not checked; a text that says what is wrong with the label
 */
export function parseHealth(text: string | undefined): HealthConfig | string | undefined {
  if (text === undefined || text === "") return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return messageOf(error);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "it is no object";
  const { test, ...rest } = value as Record<string, unknown>;
  if (!Array.isArray(test) || !test.every((word) => typeof word === "string")) return '"test" is no list of words';
  if (test.length === 0 || test[0] === "NONE") return undefined;
  if (test.length < 2 || (test[0] !== "CMD" && test[0] !== "CMD-SHELL")) {
    return '"test" must begin with NONE, or with CMD or CMD-SHELL and a command';
  }
  if (test[0] === "CMD-SHELL" && test.length > 2) return '"test" with CMD-SHELL has one text';
  const read = (name: keyof typeof healthDefaults, least: number, most: number): number => {
    const given = rest[name];
    // Docker and Compose: 0 is the default.
    if (typeof given !== "number" || !(given > 0)) return healthDefaults[name] as number;
    return Math.min(most, Math.max(least, given));
  };
  const { action = healthDefaults.action } = rest as { action?: unknown };
  if (!healthActions.includes(action as HealthAction)) return `"action" is none of ${healthActions.join(", ")}`;
  return {
    test: test as string[],
    interval: read("interval", MIN_MS, MAX_MS),
    timeout: read("timeout", MIN_MS, MAX_MS),
    retries: Math.round(read("retries", 1, MAX_RETRIES)),
    start_period: read("start_period", 0, MAX_MS),
    start_interval: read("start_interval", MIN_MS, MAX_MS),
    action: action as HealthAction,
  };
}

/** The command of a check. */
export function commandOf({ test: [form, ...words] }: HealthConfig): readonly string[] {
  return form === "CMD-SHELL" ? ["/bin/sh", "-c", words[0] ?? ""] : words;
}
