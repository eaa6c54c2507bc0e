/**
 * A container's hosts, hostname and resolv.conf. They are mounted into it one by one, so a change must keep the inode:
 * they are written in place.
 */

import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { type HostLine, hostsText } from "./hosts.ts";
import { containerDir, fileNames, type NetworkPaths } from "./paths.ts";
import { checkRequest, type NetworkRequest, networkKey } from "./request.ts";
import { hostResolver, resolverFor, resolverText } from "./resolver.ts";
import type { NetworkMode } from "./spec.ts";

/** What a container has written into its hosts beyond this is not kept. */
const MAX_HOSTS_BYTES = 256 << 10;

/**
 * Makes the files of a container that is on record and not started; the mounts of its spec need them. To be called again
 * is harmless. Containers of another's network have none of their own.
 * @throws ContainerdError InvalidArgument; NodeJS.ErrnoException
 */
export function prepareFiles(
  { namespace, id, mode, request }: { namespace: string; id: string; mode: NetworkMode; request: NetworkRequest },
  paths: Pick<NetworkPaths, "root">,
): void {
  if (mode.startsWith("container:")) return;
  const dir = containerDir(paths, namespace, id);
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  const hasHostNetwork = mode === "host";
  // Until the network is there, its names are those of the loopback.
  const own =
    request.hostname === "" ? [] : [{ ip: hasHostNetwork ? "127.0.1.1" : "127.0.0.1", names: [request.hostname] }];
  writeHosts(dir, [...own, ...extraLines(request, hasHostNetwork ? ["127.0.0.1"] : [])]);
  writeInPlace(join(dir, "hostname"), request.hostname === "" ? "" : `${request.hostname}\n`);
  writeResolver(dir, request, hasHostNetwork);
}

/** What of a container's spec tells of its files. */
interface FilesSpec {
  readonly mounts?: readonly { readonly source?: string }[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly hooks?: { readonly createRuntime?: readonly unknown[] };
  readonly linux?: { readonly namespaces?: readonly { readonly type?: string; readonly path?: string }[] };
}

/**
 * Makes the files of a container that is about to be started, where one is missing or empty: a power cut may have taken
 * them, or their maker may have died before it made them. A container whose spec mounts none of its own is left alone.
 * @param spec the OCI spec as JSON; one that is none is runc's to refuse
 * @throws ContainerdError InvalidArgument; NodeJS.ErrnoException
 */
export function restoreFiles(
  paths: Pick<NetworkPaths, "root">,
  namespace: string,
  id: string,
  spec: Uint8Array | undefined,
): void {
  const dir = containerDir(paths, namespace, id);
  if (spec === undefined || hasFiles(dir)) return;
  let parsed: FilesSpec;
  try {
    parsed = JSON.parse(new TextDecoder().decode(spec)) as FilesSpec;
  } catch {
    return;
  }
  const { mounts, annotations, hooks, linux } = parsed;
  const text = annotations?.[networkKey];
  if (text === undefined || !mounts?.some(({ source }) => source === join(dir, "hosts"))) return;
  const hasOwn = linux?.namespaces?.some(({ type, path }) => type === "network" && !path) ?? false;
  const mode = hooks?.createRuntime?.length ? "cni" : hasOwn ? "none" : "host";
  prepareFiles({ namespace, id, mode, request: checkRequest(JSON.parse(text)) }, paths);
}

/** True when all files are in a directory, and none is empty, as an interrupted write may leave it. */
export function hasFiles(dir: string): boolean {
  return fileNames.every((name) => (statSync(join(dir, name), { throwIfNoEntry: false })?.size ?? 0) > 0);
}

/** The host name that a container's file has; empty when it has none. It may have written anything there. */
export function hostnameFile(paths: Pick<NetworkPaths, "root">, namespace: string, id: string): string {
  const text = readBounded(join(containerDir(paths, namespace, id), "hostname")).trim();
  return /^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$/.test(text) ? text : "";
}

/** Removes the files of a container that is gone. */
export function removeFiles(paths: Pick<NetworkPaths, "root">, namespace: string, id: string): void {
  rmSync(containerDir(paths, namespace, id), { recursive: true, force: true });
}

/** Writes our lines into the hosts of a container. @param dir of its files */
export function writeHosts(dir: string, lines: readonly HostLine[]): void {
  const path = join(dir, "hosts");
  writeInPlace(path, hostsText(lines, readBounded(path)));
}

/** Writes resolv.conf anew from the host's of now. @param servers of the network itself, when nothing else is asked for */
export function writeResolver(
  dir: string,
  { dns }: Pick<NetworkRequest, "dns">,
  hasHostNetwork: boolean,
  servers: readonly string[] = [],
): void {
  const asked = servers.length > 0 && !dns?.servers?.length ? { ...dns, servers } : dns;
  writeInPlace(join(dir, "resolv.conf"), resolverText(resolverFor(asked, { ...hostResolver(), hasHostNetwork })));
}

/** The lines of a request's extra hosts; `host-gateway` is each of the gateways. */
export function extraLines(
  { extraHosts = [] }: Pick<NetworkRequest, "extraHosts">,
  gateways: readonly string[],
): HostLine[] {
  return extraHosts.flatMap(({ name, ip }) =>
    (ip === "host-gateway" ? gateways : [ip]).map((address) => ({ ip: address, names: [name] })),
  );
}

/**
 * Replaces a file's content without replacing the file. A reader sees the old or the new text: what the old has more is
 * first covered with empty lines.
 */
function writeInPlace(path: string, text: string): void {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o644);
  try {
    const { size } = fstatSync(fd);
    const bytes = Buffer.from(text);
    if (size === bytes.length && readWhole(fd, size).equals(bytes)) return;
    const cover = Math.max(0, Math.min(size, MAX_HOSTS_BYTES) - bytes.length);
    const all = Buffer.concat([bytes, Buffer.alloc(cover, "\n")]);
    for (let at = 0; at < all.length; ) at += writeSync(fd, all, at, all.length - at, at);
    ftruncateSync(fd, bytes.length);
  } finally {
    closeSync(fd);
  }
}

function readBounded(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch {
    return "";
  }
  try {
    const { size } = fstatSync(fd);
    return size > MAX_HOSTS_BYTES ? "" : readWhole(fd, size).toString("utf8");
  } finally {
    closeSync(fd);
  }
}

function readWhole(fd: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  return bytes.subarray(0, readSync(fd, bytes, 0, size, 0));
}
