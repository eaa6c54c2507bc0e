/** The Introspection service. */

import { filterPlugins, type Plugin } from "../introspection/plugins.ts";
import type { Handlers } from "./server.ts";

/** What the service tells of. */
export interface IntrospectionOptions {
  readonly uuid: string;
  readonly plugins: readonly Plugin[];
  /** Inode of the daemon's pid namespace. */
  readonly pidNamespace: number;
}

export function introspectionService(
  options: IntrospectionOptions,
): Handlers<"containerd.services.introspection.v1.Introspection"> {
  return {
    Plugins: ({ filters }) => ({ plugins: filterPlugins(options.plugins, filters) }),
    Server: () => ({ uuid: options.uuid, pid: process.pid, pidns: options.pidNamespace }),
  };
}
