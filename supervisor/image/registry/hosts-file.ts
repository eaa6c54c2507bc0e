/** The file `hosts.toml`: which hosts serve a registry, and how they are reached (docs/hosts.md). */

import { isAbsolute, join, posix } from "node:path";
import { ContainerdError, messageOf } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";
import type { Capability } from "./hosts.ts";

/** A host as the file has it; what is not there is as usual. */
export interface HostEntry {
  readonly scheme?: string;
  readonly host?: string;
  readonly path?: string;
  readonly capabilities?: ReadonlySet<Capability>;
  /** Files of certificates of authorities. */
  readonly ca?: readonly string[];
  /** Files of certificates and keys; an empty key is in the file of the certificate. */
  readonly client?: readonly (readonly [string, string])[];
  readonly skipVerify?: boolean | undefined;
  readonly headers?: readonly (readonly [string, string])[];
  /** Milliseconds. */
  readonly dialTimeout?: number;
}

type Table = Readonly<Record<string, unknown>>;

/**
 * Reads the file: its hosts in order, then the server itself.
 * @param directory where relative names of files begin
 * @throws ContainerdError for what is not as it has to be
 */
export function parseHostsFile(text: string, directory: string): HostEntry[] {
  const wrong = (what: string): ContainerdError =>
    new ContainerdError(Code.Unknown, `${join(directory, "hosts.toml")}: ${what}`);
  let file: Table;
  try {
    file = Bun.TOML.parse(text) as Table;
  } catch (error) {
    throw wrong(messageOf(error));
  }
  const hosts = file["host"] ?? {};
  if (typeof hosts !== "object" || hosts === null) throw wrong("host is no table");
  const server = file["server"] ?? "";
  if (typeof server !== "string") throw wrong("server is no string");
  return [
    ...Object.entries(hosts as Table).map(([name, table]) => {
      if (typeof table !== "object" || table === null) throw wrong(`host ${JSON.stringify(name)} is no table`);
      return parseEntry(name, table as Table, directory, wrong);
    }),
    parseEntry(server, file, directory, wrong),
  ];
}

function parseEntry(server: string, table: Table, directory: string, wrong: (what: string) => Error): HostEntry {
  const absolute = (path: string): string => (isAbsolute(path) ? path : join(directory, path));
  const strings = (value: unknown, key: string): string[] => {
    const list = typeof value === "string" ? [value] : value;
    if (!Array.isArray(list) || !list.every((item) => typeof item === "string")) {
      throw wrong(`invalid type for ${JSON.stringify(key)}`);
    }
    return list;
  };
  const {
    capabilities,
    ca,
    client,
    skip_verify: skipVerify,
    header,
    override_path: override,
    dial_timeout: dial,
  } = table;
  if (skipVerify !== undefined && typeof skipVerify !== "boolean") throw wrong("skip_verify is neither true nor false");
  return {
    ...(server === "" ? {} : parseServer(server, override === true, wrong)),
    ...(capabilities === undefined
      ? {}
      : { capabilities: parseCapabilities(strings(capabilities, "capabilities"), wrong) }),
    ...(ca === undefined ? {} : { ca: strings(ca, "ca").map(absolute) }),
    ...(client === undefined ? {} : { client: parseClient(client, absolute, wrong) }),
    ...(skipVerify === undefined ? {} : { skipVerify }),
    ...(header === undefined
      ? {}
      : {
          headers: Object.entries(header as Table).flatMap(([name, value]) =>
            strings(value, `header ${name}`).map((item) => [name, item] as const),
          ),
        }),
    ...(dial === undefined ? {} : { dialTimeout: parseDuration(dial, wrong) }),
  };
}

function parseServer(server: string, isPathGiven: boolean, wrong: (what: string) => Error): HostEntry {
  let url: URL;
  try {
    url = new URL(server.startsWith("http") ? server : `https://${server}`);
  } catch {
    throw wrong(`unable to parse server ${JSON.stringify(server)}`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw wrong(`server ${JSON.stringify(server)} is not of HTTP`);
  const cleaned = url.pathname === "/" ? "" : posix.normalize(url.pathname).replace(/\/$/, "");
  const path = isPathGiven || cleaned.endsWith("/v2") ? cleaned : `${cleaned}/v2`;
  return { scheme: url.protocol.slice(0, -1), host: url.host, path };
}

function parseCapabilities(names: readonly string[], wrong: (what: string) => Error): ReadonlySet<Capability> {
  const known: readonly Capability[] = ["pull", "resolve", "push"];
  const set = new Set<Capability>();
  for (const name of names) {
    const capability = known.find((item) => item === name.toLowerCase());
    // Newer files may name more than is known here.
    if (capability !== undefined) set.add(capability);
    else if (name.toLowerCase() !== "referrers") throw wrong(`unknown capability ${name}`);
  }
  return names.length === 0 ? new Set(known) : set;
}

function parseClient(
  value: unknown,
  absolute: (path: string) => string,
  wrong: (what: string) => Error,
): (readonly [string, string])[] {
  const list = typeof value === "string" ? [value] : value;
  if (!Array.isArray(list)) throw wrong('invalid type for "client"');
  return list.map((item: unknown) => {
    if (typeof item === "string") return [absolute(item), ""] as const;
    if (!Array.isArray(item) || item.length !== 2 || !item.every((part) => typeof part === "string")) {
      throw wrong('invalid pair for "client"');
    }
    return [absolute(item[0] as string), absolute(item[1] as string)] as const;
  });
}

const units: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** A duration as Go writes it, such as `1m30s`. @returns milliseconds */
function parseDuration(value: unknown, wrong: (what: string) => Error): number {
  const text = typeof value === "string" ? value : "";
  if (!/^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/.test(text)) throw wrong(`invalid duration ${JSON.stringify(value)}`);
  let sum = 0;
  for (const [, number = "0", unit = "s"] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)) {
    sum += Number(number) * (units[unit] ?? 0);
  }
  return sum;
}
