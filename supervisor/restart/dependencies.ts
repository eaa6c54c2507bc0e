/**
 * What a container waits for before it starts: label `berth/depends-on`. Pure: what there is of other containers is
 * asked of the caller.
 */

import { messageOf } from "../../proto/errdefs.ts";
import { isIdentifier } from "../../proto/identifiers.ts";
import type { HealthStatus } from "../container/health.ts";
import { type Dependency, labels as names } from "../container/labels.ts";

type Labels = Readonly<Record<string, string>>;

const conditions: readonly string[] = ["started", "healthy", "completed"];

/** What is known of a container that others wait for. */
export interface Facts {
  readonly isRunning: boolean;
  /** undefined for one without a check. */
  readonly health: HealthStatus | undefined;
  /** How its last run ended; undefined while it runs, and before it ran. */
  readonly lastExit: number | undefined;
}

/**
 * Reads the label. What is wrong with it costs the dependencies, not the container.
 * @returns the dependencies, and what is wrong
 */
export function parseDependencies(labels: Labels): { dependencies: readonly Dependency[]; problem?: string } {
  const text = labels[names.dependsOn] ?? "";
  if (text === "") return { dependencies: [] };
  const wrong = (why: string) => ({ dependencies: [], problem: `label ${names.dependsOn} is ignored: ${why}` });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return wrong(messageOf(error));
  }
  if (!Array.isArray(value)) return wrong("it is no list");
  for (const entry of value as unknown[]) {
    const { id, condition } = (entry ?? {}) as Partial<Dependency>;
    if (typeof id !== "string" || !isIdentifier(id)) return wrong(`${JSON.stringify(id)} is no name of a container`);
    if (typeof condition !== "string" || !conditions.includes(condition)) {
      return wrong(`condition ${JSON.stringify(condition)} is none of ${conditions.join(", ")}`);
    }
  }
  return { dependencies: value as Dependency[] };
}

/**
 * The dependencies of `id` that lead back to it. Each member of a cycle lets go of those, or none would ever start.
 * @param dependenciesOf the ids that a container waits for
 */
export function cyclic(id: string, dependenciesOf: (id: string) => readonly string[]): ReadonlySet<string> {
  const found = new Set<string>();
  for (const first of dependenciesOf(id)) {
    const seen = new Set([first]);
    const left = [first];
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      if (next === id) {
        found.add(first);
        break;
      }
      for (const one of dependenciesOf(next)) {
        if (seen.has(one)) continue;
        seen.add(one);
        left.push(one);
      }
    }
  }
  return found;
}

/** What a dependency still misses, for people; undefined when it is met. @param facts undefined: there is no such container */
export function unmet({ id, condition }: Dependency, facts: Facts | undefined): string | undefined {
  if (facts === undefined) return `${id}, which does not exist`;
  switch (condition) {
    case "started":
      return facts.isRunning ? undefined : `${id} to start`;
    case "healthy":
      if (!facts.isRunning) return `${id} to start and be healthy`;
      // A container without a check is as healthy as can be known.
      return facts.health === undefined || facts.health === "healthy"
        ? undefined
        : `${id} to be healthy (it is ${facts.health})`;
    case "completed":
      if (facts.lastExit === 0 && !facts.isRunning) return undefined;
      if (facts.lastExit === undefined || facts.isRunning) return `${id} to end`;
      return `${id} to end well (its last exit status is ${facts.lastExit})`;
  }
}
