/** What a container has left on the machine. */

import type { Bundle } from "./bundle.ts";
import type { Context } from "./context.ts";
import { findCgroups, findMounts, type Process } from "./machine.ts";
import { until } from "./wait.ts";

/** A process, as a line for a person. */
export function processLine({ pid, state, command }: Process): string {
  return `process ${pid} (${state}): ${command}`;
}

/** Mounts, cgroup and the runtime's state of a container, as lines for a person. The namespace's own cgroup stays. */
export function leftOf(t: Context, { id, path }: Pick<Bundle, "id" | "path">): string[] {
  return [
    ...findMounts(path).map((mount) => `mount ${mount}`),
    ...findCgroups(t.token)
      .filter((cgroup) => cgroup.endsWith(`/${id}`))
      .map((cgroup) => `cgroup ${cgroup}`),
    ...t.runtimeState(id).map((state) => `state ${state}`),
  ];
}

/**
 * Waits until nothing is left of a container but its bundle.
 * @param processes those that there should be none of @throws Violation
 */
export async function nothingLeft(t: Context, bundle: Bundle, processes: () => readonly Process[]): Promise<void> {
  const left = (): string[] => [...processes().map(processLine), ...leftOf(t, bundle)];
  await until("no process, mount, cgroup or state of the runtime to be left", () => left().length === 0, {
    timeout: 3000,
    received: () => left().join("; "),
  });
}
