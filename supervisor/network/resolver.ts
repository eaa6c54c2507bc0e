/** The text of a container's resolv.conf, from the host's and what is asked for. */

import { readFileSync } from "node:fs";
import { isIP } from "./address.ts";
import type { DnsRequest } from "./request.ts";

/** Where the host's resolvers are told; the second is systemd-resolved's own list, behind its stub on loopback. */
const hostFiles = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] as const;

/** What a resolver needs to know. */
export interface Resolver {
  readonly servers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
}

/** Reads a resolv.conf as resolv.conf(5) has it: the last search or domain counts. */
export function parseResolver(text: string): Resolver {
  const servers: string[] = [];
  const options: string[] = [];
  let search: string[] = [];
  for (const line of text.split("\n")) {
    const [word, ...rest] = line
      .replace(/[#;].*$/, "")
      .trim()
      .split(/\s+/);
    const first = rest[0];
    if (word === "nameserver" && first !== undefined && isIP(first.split("%")[0] ?? "") !== 0) servers.push(first);
    else if (word === "search" || word === "domain") search = rest;
    else if (word === "options") options.push(...rest);
  }
  return { servers, search, options };
}

/** True for what in a network namespace of its own is the container itself. */
export function isLoopback(address: string): boolean {
  return /^127\./.test(address) || address === "::1" || /^::ffff:127\./i.test(address);
}

/**
 * What the container is told. Resolvers on the host's loopback are left out unless it has the host's network.
 * @param host the host's file
 * @param upstream what is behind a stub on loopback; used when nothing else is left of the host's
 */
export function resolverFor(
  request: DnsRequest | undefined,
  { host, upstream, hasHostNetwork }: { host: string; upstream: string; hasHostNetwork: boolean },
): Resolver {
  const usable = (servers: readonly string[]): string[] =>
    servers.filter((server) => hasHostNetwork || !(isLoopback(server) || server.includes("%")));
  const own = parseResolver(host);
  const inherited = usable(own.servers);
  if (inherited.length === 0) inherited.push(...usable(parseResolver(upstream).servers));
  const given = <T>(words: readonly T[] | undefined, otherwise: readonly T[]): readonly T[] =>
    words === undefined || words.length === 0 ? otherwise : words;
  // "--dns-search ." asks for none, as docker has it.
  const search = given(request?.search, own.search).filter((domain) => domain !== ".");
  return { servers: given(request?.servers, inherited), search, options: given(request?.options, own.options) };
}

/** The file's text. */
export function resolverText({ servers, search, options }: Resolver): string {
  const lines = servers.map((server) => `nameserver ${server}`);
  if (servers.length === 0) lines.push("# berth: the host has no resolver that a container could reach; see --dns");
  if (search.length > 0) lines.push(`search ${search.join(" ")}`);
  if (options.length > 0) lines.push(`options ${options.join(" ")}`);
  return `${lines.join("\n")}\n`;
}

/** What the host says now. */
export function hostResolver(): { host: string; upstream: string } {
  const [host, upstream] = hostFiles.map((path) => {
    try {
      return readFileSync(path, "utf8");
    } catch {
      return "";
    }
  });
  return { host: host ?? "", upstream: upstream ?? "" };
}
