/** `berth pull` and `push`: images from and to registries. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf } from "../../../proto/errdefs.ts";
import { readDocument } from "../../client/content.ts";
import {
  detailsOf,
  findImage,
  fullName,
  type ImageRecord,
  listImages,
  parsePlatform,
  partForHost,
} from "../../client/images.ts";
import {
  type PlatformMessage,
  pullImage,
  pushImage,
  type RegistryOptions,
  type TransferPlace,
} from "../../client/transfer.ts";
import { parseIndex } from "../../image/manifest.ts";
import { isIndex } from "../../image/mediatype.ts";
import { hostPlatform, ordered, type Platform } from "../../image/platform.ts";
import { parseDockerName } from "../../image/reference.ts";
import type { Connection } from "../connect.ts";
import { shown } from "../output/escape.ts";
import { interruptible } from "../output/interrupt.ts";
import { noProgress, type ProgressView, progressView } from "../output/progress.ts";
import { print } from "../output/terminal.ts";
import { registryAdvice, withoutTransfer } from "./advice.ts";
import { credentialsFor, credentialsOfFlag } from "./credentials.ts";
import { putImage } from "./records.ts";

/** Flags about registries. */
export interface RegistryFlags {
  readonly plainHttp?: boolean;
  readonly insecure?: boolean;
  readonly hostsDir?: string;
  readonly user?: string;
  readonly quiet?: boolean;
}

/** Flags about platforms. */
export interface PlatformFlags {
  readonly platform?: readonly string[];
  readonly allPlatforms?: boolean;
}

export interface PullFlags extends RegistryFlags, PlatformFlags {
  /** False with `--no-unpack`. */
  readonly unpack?: boolean;
  readonly snapshotter?: string;
}

/** The platforms that flags name; those of `otherwise` when they name none. @throws ContainerdError */
export function platformsOf(
  { platform = [], allPlatforms }: PlatformFlags,
  otherwise: readonly Platform[],
): PlatformMessage[] {
  if (allPlatforms) return [];
  const chosen = platform.length > 0 ? platform.flatMap((text) => text.split(",")).map(parsePlatform) : otherwise;
  return chosen.map(messageOfPlatform);
}

function messageOfPlatform({ os, architecture, variant }: Platform): PlatformMessage {
  return { os, architecture, variant: variant ?? "" };
}

/** Pulls images, one after the other. @throws what the first that fails does */
export async function pull(connection: Connection, names: readonly string[], flags: PullFlags): Promise<void> {
  const platforms = platformsOf(flags, [hostPlatform()]);
  for (const name of names) await pullOne(connection, fullName(name), platforms, flags);
}

async function pullOne(
  { api, namespace }: Connection,
  reference: string,
  platforms: readonly PlatformMessage[],
  flags: PullFlags,
): Promise<void> {
  const before = await digestOf(api, namespace, reference);
  const unpack = flags.unpack === false ? undefined : (flags.snapshotter ?? "");
  await withRegistry(reference, flags, "pull", { api, namespace }, (place, registry) =>
    pullImage(place, reference, registry, { platforms, unpack }),
  );
  const after = await digestOf(api, namespace, reference);
  if (flags.quiet) {
    await print(`${reference}\n`);
    return;
  }
  const status = before === after ? "Image is up to date for" : "Downloaded newer image for";
  await print(`Digest: ${shown(after ?? "")}\nStatus: ${status} ${reference}\n${reference}\n`);
}

async function digestOf(api: Connection["api"], namespace: string, name: string): Promise<string | undefined> {
  return (await listImages(api, namespace)).find((image) => image.name === name)?.target.digest;
}

/** Pushes an image under its own name, or under another. @throws CallError */
export async function push(
  connection: Connection,
  name: string,
  target: string | undefined,
  flags: RegistryFlags & PlatformFlags,
): Promise<void> {
  const { api, namespace } = connection;
  const image: ImageRecord = await findImage(api, namespace, name);
  const reference = target === undefined ? image.name : fullName(target);
  await withWhole(connection, image, flags, (whole) =>
    withRegistry(reference, flags, "push", connection, (place, registry) =>
      pushImage(place, whole.name, reference, registry),
    ),
  );
  await print(
    flags.quiet
      ? `${shown(reference)}\n`
      : `${shown(reference)}: digest: ${shown(image.target.digest)} size: ${image.target.size}\n`,
  );
}

/**
 * Gives an image of which everything is here. Of one that was pulled for this machine alone, the index names manifests
 * that are not: then it is the manifest of the wanted platform, under a name that goes again.
 */
async function withWhole(
  { api, namespace }: Pick<Connection, "api" | "namespace">,
  image: ImageRecord,
  flags: PlatformFlags,
  work: (image: Pick<ImageRecord, "name" | "target">) => Promise<void>,
): Promise<void> {
  if (flags.allPlatforms || !isIndex(image.target.mediaType)) return work(image);
  const [details] = await detailsOf(api, namespace, [image]);
  const children = parseIndex(await readDocument(api, namespace, image.target.digest), image.target);
  const isWhole = children.every(({ digest }) => details?.blobs.has(digest));
  const [wanted] = (flags.platform ?? []).map(parsePlatform);
  if (details === undefined || (isWhole && wanted === undefined)) return work(image);
  const fits = wanted && ordered(wanted);
  const part = fits ? details.parts.find(({ platform }) => fits.matches(platform)) : partForHost(details);
  const target = children.find(({ digest }) => digest === part?.manifestDigest);
  if (target === undefined)
    throw new Error(`${shown(image.name)} is not here for ${flags.platform?.[0] ?? "this platform"}`);
  const { mediaType, digest, size } = target;
  const temporary = {
    name: `berth.invalid/push:${process.pid}-${Date.now().toString(36)}`,
    labels: {},
    target: { mediaType, digest, size },
  };
  await putImage(api, namespace, temporary);
  try {
    await work(temporary);
  } finally {
    await api.call("containerd.services.images.v1.Images", "Delete", { name: temporary.name }, { namespace });
  }
}

/** Runs a transfer with a registry: progress, credentials, interrupts, and errors that say what to do. */
async function withRegistry(
  reference: string,
  flags: RegistryFlags,
  verb: "pull" | "push",
  { api, namespace }: Pick<Connection, "api" | "namespace">,
  work: (place: TransferPlace, registry: RegistryOptions) => Promise<void>,
): Promise<void> {
  const given = flags.user === undefined ? undefined : await credentialsOfFlag(flags.user);
  let problem: unknown;
  const credentials = async (host: string) => {
    if (given !== undefined) return given;
    return credentialsFor(host).catch((error: unknown) => {
      problem = error;
      return undefined;
    });
  };
  const hosts = hostsDirectoryOf(reference, flags);
  const view: ProgressView = flags.quiet ? noProgress : progressView();
  try {
    await interruptible((signal) =>
      work(
        { api, namespace, signal, onStep: (step) => view.step(step) },
        { plainHttp: flags.plainHttp, hostsDirectory: hosts.directory, credentials },
      ),
    );
  } catch (error) {
    view.end();
    throw problem ?? advised(withoutTransfer(error), reference, verb);
  } finally {
    view.end();
    hosts.remove();
  }
}

/** The hosts.toml files of the flags: with `--insecure` one is made that does not verify the registry's certificate. */
export function hostsDirectoryOf(
  reference: string,
  flags: RegistryFlags,
): { directory: string | undefined; remove: () => void } {
  if (!flags.insecure) return { directory: flags.hostsDir, remove: () => {} };
  const host = parseDockerName(reference).domain;
  const directory = mkdtempSync(join(tmpdir(), "berth-hosts-"));
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  const server = `${flags.plainHttp ? "http" : "https"}://${host === "docker.io" ? "registry-1.docker.io" : host}`;
  const entry = join(directory, "_default");
  try {
    // The host is of Docker's grammar: it has nothing that would have to be quoted.
    mkdirSync(entry);
    writeFileSync(join(entry, "hosts.toml"), `server = "${server}"\nskip_verify = true\n`);
  } catch (error) {
    remove();
    throw error;
  }
  return { directory, remove };
}

/** An error of a registry with what to do about it. */
function advised(error: unknown, reference: string, verb: "pull" | "push"): unknown {
  if (!(error instanceof Error) || error.name === "ExitStatus") return error;
  const text = messageOf(error);
  const advice = registryAdvice(text, reference, verb);
  return advice === undefined ? error : new Error(`${shown(text)}\n${advice}`);
}
