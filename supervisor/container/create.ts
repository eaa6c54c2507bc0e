/** Making a container out of an image and options. */

import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { alreadyExists, ContainerdError, invalidArgument, messageOf } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Api } from "../client/api.ts";
import { withLease } from "../client/content.ts";
import type { RegistryOptions, TransferStep } from "../client/transfer.ts";
import { networkPaths } from "../network/paths.ts";
import { prepareNetwork, releaseNetwork } from "../network/prepare.ts";
import { validateIdentifier } from "../store/identifier.ts";
import { containerLabels } from "./container-labels.ts";
import { allDevices, resolveDevices } from "./devices.ts";
import { hostFacts } from "./facts.ts";
import { ensureImage, type RunImage } from "./image.ts";
import { logDirectory } from "./log-uri.ts";
import { removeVolumes, resolveMounts } from "./mounts.ts";
import { networkOptions, sharedHostname } from "./network.ts";
import { type OciSeccomp, type OciSpec, specType } from "./oci.ts";
import type { RunOptions } from "./options.ts";
import { type Place, placeOf } from "./place.ts";
import { type RootfsMount, RootfsTree, rootfsMounts } from "./rootfs-tree.ts";
import { buildSpec } from "./spec.ts";
import { type ResolvedUser, resolveUser } from "./user.ts";
import { Volumes } from "./volumes.ts";

const CONTAINERS = "containerd.services.containers.v1.Containers";
const SNAPSHOTS = "containerd.services.snapshots.v1.Snapshots";
const RUNTIME = "io.containerd.runc.v2";
/** Bytes of an image's passwd or group that are looked at. */
const MAX_USERS = 1 << 20;
/** Bytes of a seccomp profile. */
const MAX_PROFILE = 1 << 20;
const TRIES = 5;

/** How a container is made. */
export interface CreateOptions {
  /** Cancels it; then nothing is left. */
  readonly signal?: AbortSignal | undefined;
  /** Told before a pull begins, and of every step of it. */
  readonly onPull?: (name: string) => void;
  readonly onStep?: (step: TransferStep) => void;
  /** How registries are asked. */
  readonly registry?: RegistryOptions;
}

/** A container that was made. */
export interface CreatedContainer {
  readonly id: string;
  /** What should be known of it, in sentences. */
  readonly warnings: readonly string[];
}

/**
 * Makes a container: its image is pulled if it must be, and unpacked. It is not started. What fails leaves nothing.
 * @throws ContainerdError that says what to do
 */
export async function createContainer(
  api: Api,
  namespace: string,
  options: RunOptions,
  how: CreateOptions = {},
): Promise<CreatedContainer> {
  validateIdentifier(namespace, "namespace: ");
  if (options.name !== undefined) {
    checkName(options.name);
    await mustBeFree(api, namespace, options.name);
  }
  const place = await placeOf(api);
  const snapshotter = options.snapshotter ?? place.snapshotter;
  return await withLease(api, namespace, async (lease) => {
    const at = { api, namespace, snapshotter, lease, ...how };
    const image = await ensureImage(at, options);
    how.signal?.throwIfAborted();
    for (let tries = 1; ; tries++) {
      const id = options.name ?? generatedName(image.name);
      try {
        return await make({ api, namespace, lease, place, snapshotter, id, image, options });
      } catch (error) {
        const isTaken = error instanceof ContainerdError && error.code === Code.AlreadyExists;
        if (!isTaken || options.name !== undefined || tries === TRIES) throw error;
      }
    }
  });
}

interface Making {
  readonly api: Api;
  readonly namespace: string;
  readonly lease: string;
  readonly place: Place;
  readonly snapshotter: string;
  readonly id: string;
  readonly image: RunImage;
  readonly options: RunOptions;
}

async function make(making: Making): Promise<CreatedContainer> {
  const { api, namespace, lease, place, snapshotter, id, image } = making;
  const undo: (() => unknown)[] = [];
  const warnings: string[] = [];
  try {
    const { key, mounts } = await prepareSnapshot(making);
    undo.push(() => api.call(SNAPSHOTS, "Remove", { snapshotter, key }, { namespace }));
    const paths = networkPaths(place.root);
    const options = { ...making.options, ...sharedHostname(paths, namespace, making.options) };
    const network = networkOptions(namespace, id, options, paths.defaultNetwork, image.defaults.exposedPorts);
    const volumes = new Volumes(place.root, namespace);
    const user = userOf(options, image, mounts);
    const temporary = join(place.root, "tmp");
    const resolved = await resolveMounts(options.mounts ?? [], image.defaults.volumes, {
      volumes,
      rootfs: mounts,
      temporary,
    });
    undo.push(() => removeVolumes(volumes, resolved.anonymous));
    const networked = await prepareNetwork(paths, network);
    const seccomp = seccompOf(options.securityOpt ?? []);
    const spec = buildSpec({
      ...{ namespace, id, options, image: image.defaults, user, network: networked },
      binds: resolved.binds,
      devices: options.privileged ? allDevices() : resolveDevices(options.devices ?? []),
      facts: hostFacts(),
      ...(seccomp === undefined ? {} : { seccomp }),
      warn: (text) => warnings.push(text),
    });
    const labels = containerLabels({
      ...{ id, namespace, options, image, place },
      network: networked.labels,
      anonymousVolumes: resolved.anonymous,
    });
    const container = {
      id,
      labels,
      image: image.name,
      runtime: { name: options.runtime ?? RUNTIME },
      spec: { type_url: specType, value: encodeSpec(spec) },
      snapshotter,
      snapshotKey: key,
    };
    await api.call(CONTAINERS, "Create", { container }, { namespace, lease });
    undo.push(() => api.call(CONTAINERS, "Delete", { id }, { namespace }));
    // What is found by the id alone comes after the record: until then another may be making a container of this name.
    undo.push(() => releaseNetwork(paths, namespace, id));
    networked.makeFiles();
    undo.push(() => rmSync(logDirectory(place, namespace, id), { recursive: true, force: true }));
    mkdirSync(logDirectory(place, namespace, id), { recursive: true, mode: 0o750 });
    return { id, warnings };
  } catch (error) {
    for (const step of undo.reverse()) {
      try {
        await step();
      } catch {
        // The collector takes what has no container; the first error is the one to tell.
      }
    }
    throw error;
  }
}

/** Makes the container's own layer. A snapshot that another client has left under its name stays. */
async function prepareSnapshot(making: Making): Promise<{ key: string; mounts: RootfsMount[] }> {
  const { api, namespace, lease, snapshotter, id, image } = making;
  const prepare = async (key: string) => {
    const request = { snapshotter, key, parent: image.chainId, labels: {} };
    const { mounts } = await api.call(SNAPSHOTS, "Prepare", request, { namespace, lease });
    return { key, mounts: rootfsMounts(mounts) };
  };
  try {
    return await prepare(id);
  } catch (error) {
    if (!(error instanceof ContainerdError) || error.code !== Code.AlreadyExists) throw error;
    await mustBeFree(api, namespace, id);
    return await prepare(`${id}-${randomHex(4)}`);
  }
}

/** Looks at the image's users only where that is needed: numbers of root are the same everywhere. */
function userOf(options: RunOptions, image: RunImage, mounts: readonly RootfsMount[]): ResolvedUser {
  const text = options.user ?? image.defaults.user;
  if (image.chainId === "") return resolveUser(text, {}, options.groupAdd);
  let tree: RootfsTree;
  try {
    tree = new RootfsTree(mounts);
  } catch (error) {
    if (!/^(\d+(:\d+)?)?$/.test(text)) throw error;
    return resolveUser(text, {}, options.groupAdd);
  }
  const files = { passwd: tree.read("/etc/passwd", MAX_USERS), group: tree.read("/etc/group", MAX_USERS) };
  return resolveUser(text, files, options.groupAdd);
}

/** The profile that `seccomp=FILE` names. @throws ContainerdError InvalidArgument */
function seccompOf(options: readonly string[]): OciSeccomp | undefined {
  const path = options.find((option) => /^seccomp[=:]/.test(option))?.slice("seccomp=".length);
  if (path === undefined || path === "unconfined") return undefined;
  try {
    const text = readFileSync(path, "utf8");
    if (text.length > MAX_PROFILE) throw new Error("it is longer than 1 MiB");
    const profile = JSON.parse(text) as OciSeccomp;
    if (typeof profile.defaultAction !== "string") throw new Error("it has no defaultAction");
    return { ...profile, syscalls: profile.syscalls ?? [] };
  } catch (error) {
    throw invalidArgument(`--security-opt seccomp=${path}: cannot read the profile: ${messageOf(error)}`);
  }
}

/** A spec for a container's record. JSON has no number for "no limit": it is written in its place. */
export function encodeSpec(spec: OciSpec): Uint8Array {
  const text = JSON.stringify(spec).replace(
    new RegExp(`"(soft|hard)":${Number.MAX_SAFE_INTEGER}\\b`, "g"),
    `"$1":18446744073709551615`,
  );
  return new TextEncoder().encode(text);
}

/** @throws ContainerdError InvalidArgument */
function checkName(name: string): void {
  try {
    validateIdentifier(name);
  } catch {
    throw invalidArgument(
      `${JSON.stringify(name.slice(0, 100))} is no name of a container: letters and digits, with single "_", "." and "-" ` +
        "between them, 76 at most",
    );
  }
}

/** @throws ContainerdError AlreadyExists */
async function mustBeFree(api: Api, namespace: string, id: string): Promise<void> {
  try {
    await api.call(CONTAINERS, "Get", { id }, { namespace });
  } catch (error) {
    if (error instanceof ContainerdError && error.code === Code.NotFound) return;
    throw error;
  }
  throw alreadyExists(`there is a container ${id} already: remove it (berth rm ${id}), or take another --name`);
}

/** The last part of an image's name, and four digits. */
export function generatedName(image: string): string {
  const [last = ""] = image.replace(/@.*/, "").split("/").slice(-1);
  const base = last
    .replace(/:.*/, "")
    .replace(/[^A-Za-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 60);
  return `${base || "container"}-${randomHex(2)}`;
}

function randomHex(bytes: number): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(bytes))).toString("hex");
}
