/**
 * Attachments on record: one file for each container, written before the first plugin is called and after each, so that
 * whatever was begun can be undone. They lie where a reboot clears them, as it clears what they describe, and are
 * therefore not synced.
 */

import { mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type NetworkConf, parseConf } from "./cni/conf.ts";
import type { Result } from "./cni/result.ts";
import { attachmentPath, defaultSettings, type NetworkPaths } from "./paths.ts";
import type { NetworkRequest } from "./request.ts";

/** A container in one network. */
export interface AttachedNetwork {
  /** As it was at ADD: the file may change, or go. */
  readonly conf: NetworkConf;
  readonly ifName: string;
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
  readonly args: string;
  /** Of the last plugin that ended well; undefined when none has. */
  result?: Result;
}

/** A container in its networks. */
export interface Attachment {
  readonly namespace: string;
  readonly id: string;
  /** CNI_CONTAINERID. */
  readonly containerId: string;
  /** Of the container's first process. */
  readonly pid: number;
  /** Field 22 of its stat: with the pid and the boot it names a process for good. */
  readonly startTime: string;
  readonly bootId: string;
  /** CNI_NETNS. */
  readonly netns: string;
  /** RFC 3339. */
  readonly created: string;
  readonly request: NetworkRequest;
  readonly networks: AttachedNetwork[];
  /** Why it could not be released. */
  readonly problem?: string;
}

/**
 * CNI_CONTAINERID of a container: tells ours from those of other runtimes, and of daemons with another root, with whom
 * plugins may share a directory of leases. Ids have no two separators in a row.
 */
export function cniContainerId({ run }: Pick<NetworkPaths, "run">, namespace: string, id: string): string {
  return `${ownPrefix(run)}__${namespace}__${id}`;
}

/** Namespace and id of a CNI_CONTAINERID; undefined for one that is not ours. */
export function ownerOf(
  { run }: Pick<NetworkPaths, "run">,
  containerId: string,
): { namespace: string; id: string } | undefined {
  const [prefix, namespace, id, ...rest] = containerId.split("__");
  if (prefix !== ownPrefix(run) || !namespace || !id || rest.length > 0) return undefined;
  return { namespace, id };
}

function ownPrefix(run: string): string {
  if (run === defaultSettings.run) return "berth";
  return `berth-${new Bun.CryptoHasher("sha256").update(run).digest("hex").slice(0, 8)}`;
}

/** Puts an attachment on record. */
export function saveAttachment(paths: NetworkPaths, attachment: Attachment): void {
  const path = attachmentPath(paths, attachment.namespace, attachment.id);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.tmp`;
  writeFileSync(temporary, JSON.stringify(attachment), { mode: 0o600 });
  renameSync(temporary, path);
}

/** Takes an attachment off the record. */
export function forgetAttachment(paths: NetworkPaths, namespace: string, id: string): void {
  const path = attachmentPath(paths, namespace, id);
  rmSync(path, { force: true });
  try {
    rmdirSync(dirname(path));
  } catch {
    // others of the namespace are there
  }
}

/** The attachment of a container; undefined when there is none on record. */
export function readAttachment(paths: NetworkPaths, namespace: string, id: string): Attachment | undefined {
  return readRecord(attachmentPath(paths, namespace, id));
}

/** All attachments, of one namespace or of all. */
export function readAttachments(paths: NetworkPaths, namespace?: string): Attachment[] {
  const top = join(paths.run, "attachments");
  const namespaces = namespace === undefined ? names(top) : [namespace];
  return namespaces.flatMap((name) =>
    names(join(top, name))
      .filter((file) => file.endsWith(".json"))
      .flatMap((file) => readRecord(join(top, name, file)) ?? []),
  );
}

/** Undefined for one that is missing, or torn by a crash of the machine whose tmpfs was none. */
function readRecord(path: string): Attachment | undefined {
  try {
    const attachment = JSON.parse(readFileSync(path, "utf8")) as Attachment;
    for (const { conf } of attachment.networks) parseConf(JSON.stringify(conf), true);
    return attachment;
  } catch {
    return undefined;
  }
}

function names(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}
