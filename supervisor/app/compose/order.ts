/** Services in order of their dependencies. Pure. */

import type { Service } from "../model.ts";

/**
 * What is waited for comes first; otherwise the order stays.
 * @param problem told of a service that waits for itself, over others or not
 */
export function ordered(services: readonly Service[], problem: (service: string, message: string) => void): Service[] {
  const byName = new Map(services.map((service) => [service.name, service]));
  const sorted: Service[] = [];
  const done = new Set<string>();
  const visit = (service: Service, way: readonly string[]): void => {
    if (done.has(service.name)) return;
    const at = way.indexOf(service.name);
    if (at >= 0) {
      problem(service.name, `services wait for each other: ${[...way.slice(at), service.name].join(" -> ")}`);
      return;
    }
    for (const { service: name } of service.dependsOn) {
      const other = byName.get(name);
      if (other !== undefined) visit(other, [...way, service.name]);
    }
    if (done.has(service.name)) return;
    done.add(service.name);
    sorted.push(service);
  };
  for (const service of services) visit(service, []);
  return sorted;
}
