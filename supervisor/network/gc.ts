/**
 * Collecting what crashes leave: attachments whose container has ended without its hook, mounts of their namespaces,
 * leases of a time before the machine was booted. Whether a container lives is asked of the kernel, not of a daemon: so
 * this may be run beside containers of another daemon.
 */

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../proto/errdefs.ts";
import { isAlive } from "./alive.ts";
import { detachLocked, pluginsOf } from "./attach.ts";
import { type Attachment, readAttachment, readAttachments } from "./attachments.ts";
import { type NetworkFile, readNetworks } from "./cni/directory.ts";
import { del, gc } from "./cni/network.ts";
import { removeFiles } from "./files.ts";
import { leakedLeases } from "./leases.ts";
import { withLock } from "./lock.ts";
import { unpinNetns } from "./netns.ts";
import { attachmentPath, type NetworkPaths } from "./paths.ts";
import { ensureRules } from "./rules.ts";

/** Files that were just made may be of a container that is not on record yet. Milliseconds. */
const FILES_AGE_MS = 3_600_000;

/** What a collection did. */
export interface Collected {
  /** Attachments that were released. */
  readonly attachments: number;
  /** Leases without an attachment that were. */
  readonly leases: number;
  /** Containers whose files were removed. */
  readonly files: number;
  /** What could not be done, in sentences. */
  readonly problems: readonly string[];
}

/** Collects everything. @param hasContainer whether a container is on record; undefined when nobody can say */
export async function collect(
  paths: NetworkPaths,
  hasContainer?: (namespace: string, id: string) => boolean,
): Promise<Collected> {
  const problems: string[] = [];
  const attempt = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      problems.push(messageOf(error));
    }
  };
  let attachments = 0;
  // The lock is let go of between them: containers that start do not wait for all.
  for (const { namespace, id } of readAttachments(paths)) {
    await attempt(async () => {
      if (await releaseDead(paths, namespace, id)) attachments++;
    });
  }
  await attempt(() => withLock(paths.run, () => unpinOthers(paths)));
  let leases = 0;
  for (const network of readNetworks(paths.confDir).networks) {
    await attempt(() =>
      withLock(paths.run, async () => {
        leases += await releaseLeases(paths, network);
        const valid = attachedTo(network, readAttachments(paths));
        await gc(network, valid, pluginsOf(paths));
        // A firewall that was loaded anew has dropped them.
        if (paths.sharedRules && valid.length > 0) await ensureRules(paths, network, false);
      }),
    );
  }
  const files = hasContainer === undefined ? 0 : removeStaleFiles(paths, hasContainer);
  return { attachments, leases, files, problems };
}

/**
 * Releases the attachment of a container whose first process has ended.
 * @returns false when there was none, or the container lives
 * @throws CniError
 */
export async function releaseDead(paths: NetworkPaths, namespace: string, id: string): Promise<boolean> {
  return withLock(paths.run, async () => {
    const attachment = readAttachment(paths, namespace, id);
    if (attachment === undefined || isAlive(attachment)) return false;
    await detachLocked(paths, attachment);
    return true;
  });
}

function attachedTo(network: NetworkFile, all: readonly Attachment[]) {
  return all.flatMap(({ containerId, networks }) =>
    networks
      .filter(({ conf }) => conf.name === network.name)
      .map(({ ifName }) => ({ containerID: containerId, ifname: ifName })),
  );
}

async function releaseLeases(paths: NetworkPaths, network: NetworkFile): Promise<number> {
  const leaked = leakedLeases(paths, network, readAttachments(paths));
  for (const { containerId, ifName } of leaked) {
    const target = { containerId, ifName, netns: "", capabilityArgs: {}, args: "" };
    await del(network, target, pluginsOf(paths), undefined);
  }
  return leaked.length;
}

/** Namespaces that are mounted for nobody. */
function unpinOthers(paths: NetworkPaths): void {
  const top = join(paths.run, "netns");
  for (const namespace of names(top)) {
    for (const id of names(join(top, namespace))) {
      const isOnRecord = statSync(attachmentPath(paths, namespace, id), { throwIfNoEntry: false }) !== undefined;
      if (!isOnRecord) unpinNetns(join(top, namespace, id));
    }
  }
}

function removeStaleFiles(paths: NetworkPaths, hasContainer: (namespace: string, id: string) => boolean): number {
  const top = join(paths.root, "containers");
  let removed = 0;
  for (const namespace of names(top)) {
    for (const id of names(join(top, namespace))) {
      const age = Date.now() - (statSync(join(top, namespace, id), { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
      if (age < FILES_AGE_MS || hasContainer(namespace, id) || readAttachment(paths, namespace, id)) continue;
      removeFiles(paths, namespace, id);
      removed++;
    }
  }
  return removed;
}

function names(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}
