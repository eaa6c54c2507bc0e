/** Makes registries of what clients say about them. */

import type { AuthStream } from "../auth-stream.ts";
import type { Registry } from "../registry.ts";
import { HostClient } from "./client.ts";
import { hostsOf } from "./hosts.ts";
import { Repository } from "./repository.ts";

/** A registry as a client wants it. */
export interface RegistryRequest {
  readonly reference: string;
  /** Sent with every request. */
  readonly headers: Readonly<Record<string, string>>;
  /** Directory of hosts.toml files; empty for none. */
  readonly hostDirectory: string;
  /** `http` or `https`; empty for what is usual for the host. */
  readonly defaultScheme: string;
  /** Asks the client for credentials. */
  readonly credentials: Pick<AuthStream, "get"> | undefined;
}

/** A registry; nothing is asked or looked up yet. */
export function openRegistry(request: RegistryRequest): Registry {
  const { reference, hostDirectory, defaultScheme, credentials } = request;
  const { accept, ...headers } = Object.fromEntries(
    Object.entries(request.headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
  const ask = credentials && ((host: string, challenges: readonly string[]) => credentials.get(host, challenges));
  return new Repository({
    name: reference,
    accept,
    async clientsOf(host) {
      const hosts = await hostsOf(host, { directory: hostDirectory, defaultScheme });
      return hosts.map((one) => new HostClient(one, headers, ask));
    },
  });
}
