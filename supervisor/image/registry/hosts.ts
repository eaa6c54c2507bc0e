/**
 * Hosts that serve a registry: those of a directory with `hosts.toml` (mirrors before the registry itself), or with
 * certificates as Docker lays them out, else the registry under its own name (core/remotes/docker/config/hosts.go).
 */

import { readdir, readFile, stat } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import { ContainerdError, messageOf } from "../../../proto/errdefs.ts";
import { Code } from "../../../proto/ttrpc/status.ts";
import { type HostEntry, parseHostsFile } from "./hosts-file.ts";

/** What a host may be asked for. */
export type Capability = "pull" | "resolve" | "push";

/** TLS as fetch takes it; PEM. */
export interface Tls {
  readonly ca?: string[];
  readonly cert?: string;
  readonly key?: string;
  readonly rejectUnauthorized?: boolean;
}

/** One host. */
export interface Host {
  readonly scheme: string;
  /** With port. */
  readonly host: string;
  /** Path before names of repositories, such as `/v2`. */
  readonly path: string;
  readonly capabilities: ReadonlySet<Capability>;
  readonly headers: readonly (readonly [string, string])[];
  readonly tls: Tls | undefined;
  /** HTTPS is tried; a server that does not speak it is asked by HTTP. */
  readonly fallsBack: boolean;
  /** Milliseconds to wait for a connection; undefined for no limit of its own. */
  readonly dialTimeout: number | undefined;
}

/** How hosts are found. */
export interface HostOptions {
  /** Empty for none. */
  readonly directory: string;
  /** Empty for what is usual. */
  readonly defaultScheme: string;
}

const all: ReadonlySet<Capability> = new Set<Capability>(["pull", "resolve", "push"]);

/**
 * The hosts of a registry, in the order in which they are asked.
 * @param name host with port, as in the names of images
 * @throws ContainerdError for files that cannot be read
 */
export async function hostsOf(name: string, options: HostOptions): Promise<readonly Host[]> {
  const directory = options.directory === "" ? undefined : await findDirectory(options.directory, name);
  const entries = directory === undefined ? [{}] : await loadDirectory(directory);
  return Promise.all(entries.map((entry) => complete(entry, name, options.defaultScheme)));
}

/** Directories that may have a registry's files: `HOST_PORT_`, `HOST:PORT`, `_default`. */
async function findDirectory(root: string, name: string): Promise<string | undefined> {
  const colon = name.lastIndexOf(":");
  const names = colon > 0 ? [`${name.slice(0, colon)}_${name.slice(colon + 1)}_`] : [];
  for (const candidate of [...names, name, "_default"]) {
    const path = join(root, candidate);
    try {
      await stat(path);
      return path;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw unreadable(path, error);
    }
  }
  return undefined;
}

function unreadable(path: string, error: unknown): ContainerdError {
  return new ContainerdError(Code.Unknown, `cannot read ${path}: ${messageOf(error)}`);
}

async function loadDirectory(directory: string): Promise<readonly HostEntry[]> {
  const path = join(directory, "hosts.toml");
  let text = "";
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw unreadable(path, error);
  }
  return text.trim() === "" ? [await dockerCertificates(directory)] : parseHostsFile(text, directory);
}

/** `*.crt` are authorities, `*.cert` with `*.key` are what the client shows. */
async function dockerCertificates(directory: string): Promise<HostEntry> {
  const files = await readdir(directory).catch((error: unknown) => {
    throw unreadable(directory, error);
  });
  const certificates = files.filter((file) => file.endsWith(".cert")).sort();
  const ca = files.filter((file) => file.endsWith(".crt")).sort();
  return {
    ...(ca.length > 0 ? { ca: ca.map((file) => join(directory, file)) } : {}),
    ...(certificates.length > 0
      ? {
          client: certificates.map((file) => {
            const key = file.replace(/\.cert$/, ".key");
            return [join(directory, file), files.includes(key) ? join(directory, key) : ""] as const;
          }),
        }
      : {}),
  };
}

async function complete(entry: HostEntry, name: string, defaultScheme: string): Promise<Host> {
  const given = entry.host === undefined ? defaultHost(name, defaultScheme) : undefined;
  const skipVerify = entry.skipVerify ?? given?.skipVerify;
  const scheme = entry.scheme ?? given?.scheme ?? "https";
  const host = entry.host ?? given?.host ?? name;
  const tls = await tlsOf({ ...entry, skipVerify });
  const fallsBack = scheme === "http" && tls !== undefined && !host.endsWith(":80");
  return {
    scheme: fallsBack ? "https" : scheme,
    host,
    path: entry.path ?? "/v2",
    capabilities: entry.capabilities ?? all,
    headers: entry.headers ?? [],
    tls,
    fallsBack,
    dialTimeout: entry.dialTimeout,
  };
}

/** True for names of this machine. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/:\d*$/, "").replace(/^\[(.*)\]$/, "$1");
  return name === "localhost" || name === "::1" || (isIP(name) === 4 && name.startsWith("127."));
}

function defaultHost(name: string, defaultScheme: string): { scheme: string; host: string; skipVerify?: boolean } {
  if (name === "docker.io") return { scheme: "https", host: "registry-1.docker.io" };
  if (defaultScheme !== "") return { scheme: defaultScheme, host: name };
  if (!isLoopback(name)) return { scheme: "https", host: name };
  const port = /:(\d+)$/.exec(name)?.[1] ?? "";
  const scheme = port === "" || port === "443" ? "https" : "http";
  return { scheme, host: name, ...(port === "80" ? {} : { skipVerify: true }) };
}

async function tlsOf({ ca, client, skipVerify }: HostEntry): Promise<Tls | undefined> {
  if (ca === undefined && client === undefined && skipVerify === undefined) return undefined;
  const read = (path: string): Promise<string> =>
    readFile(path, "utf8").catch((error: unknown) => {
      throw unreadable(path, error);
    });
  const [pair] = client ?? [];
  const cert = pair && (await read(pair[0]));
  return {
    ...(ca ? { ca: [...(await systemAuthorities()), ...(await Promise.all(ca.map(read)))] } : {}),
    ...(cert && pair ? { cert, key: pair[1] === "" ? cert : await read(pair[1]) } : {}),
    ...(skipVerify === undefined ? {} : { rejectUnauthorized: !skipVerify }),
  };
}

/** Where distributions keep the authorities that everybody trusts; a registry's own are added to them. */
const bundles = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

async function systemAuthorities(): Promise<string[]> {
  for (const path of bundles) {
    const text = await readFile(path, "utf8").catch(() => undefined);
    if (text !== undefined) return [text];
  }
  return [];
}
