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
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { type HostLine, hostsText } from "./hosts.ts";
import { containerDir, type NetworkPaths } from "./paths.ts";
import type { NetworkRequest } from "./request.ts";
import { hostResolver, resolverFor, resolverText } from "./resolver.ts";
import type { NetworkMode } from "./spec.ts";

/** What a container has written into its hosts beyond this is not kept. */
const MAX_HOSTS_BYTES = 256 << 10;

/**
 * Makes the files of a container that is about to be made; the mounts of its spec need them. To be called again is
 * harmless. Containers of another's network have none of their own.
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
