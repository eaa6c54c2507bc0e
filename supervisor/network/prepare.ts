/** A container's network at its making and at its removal: what clients call. */

import { failedPrecondition } from "../../proto/errdefs.ts";
import { detach } from "./attach.ts";
import { readAttachment, readAttachments } from "./attachments.ts";
import { needNetwork } from "./create.ts";
import { prepareFiles, removeFiles } from "./files.ts";
import type { NetworkPaths } from "./paths.ts";
import { conflictText, freePorts, portConflicts } from "./ports.ts";
import { checkRequest, type NetworkRequest } from "./request.ts";
import { type NetworkOptions, type NetworkSpec, networkSpec } from "./spec.ts";

/** A container's network as it was prepared. */
export interface PreparedNetwork extends NetworkSpec {
  /**
   * Makes the container's files. Only once its record is there, which says whose the id is: of two that make a container
   * of one name the other must find nothing to take away, nor may the end of an older one of that name.
   */
  readonly makeFiles: () => void;
}

/**
 * Makes what a container's network needs before the container is made: the default network when that is the first to use
 * it. Ports that somebody has already are refused here, not at the start.
 * @returns what goes into its spec
 * @throws ContainerdError InvalidArgument; NotFound for a network; FailedPrecondition that says who has a port
 */
export async function prepareNetwork(paths: NetworkPaths, options: NetworkOptions): Promise<PreparedNetwork> {
  const { namespace, id, mode } = options;
  const request = withPorts(paths, checkRequest(options.request));
  if (mode === "cni") {
    for (const { name } of request.networks) await needNetwork(paths, name);
    // A new version of an application takes the place of one that still has them.
    const wanted = request.app === undefined ? request.ports : [];
    const [conflict] = portConflicts(wanted, readAttachments(paths), { namespace, id });
    if (conflict !== undefined) throw failedPrecondition(conflictText(conflict));
  }
  const makeFiles = (): void => {
    removeFiles(paths, namespace, id);
    prepareFiles({ ...options, request }, paths);
  };
  return { ...networkSpec({ ...options, request }, paths), makeFiles };
}

/**
 * Takes away what a container's network has left: to be called while its record is still there, so that all of it is its own.
 * @throws CniError when something of it cannot be released; the daemon tries that again
 */
export async function releaseNetwork(paths: NetworkPaths, namespace: string, id: string): Promise<void> {
  removeFiles(paths, namespace, id);
  if (readAttachment(paths, namespace, id) === undefined) return;
  await detach(paths, () => readAttachment(paths, namespace, id));
}

/** The request with a free port in place of each that may be any. */
function withPorts(paths: NetworkPaths, request: NetworkRequest): NetworkRequest {
  if (request.ports.every(({ hostPort }) => hostPort !== 0)) return request;
  const attachments = readAttachments(paths);
  const taken = new Set<number>();
  const ports = request.ports.map((port) => {
    if (port.hostPort !== 0) return port;
    const hostPort = freePorts(taken.size + 1, port.protocol, attachments).find((free) => !taken.has(free)) ?? 0;
    taken.add(hostPort);
    return { ...port, hostPort };
  });
  return { ...request, ports };
}
