/** The work of `berth delta`. */

import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Api } from "../../client/api.ts";
import { parsePlatform } from "../../client/images.ts";
import { deltaTag } from "../../delta/document.ts";
import { type BuiltDelta, buildDelta, type LayerReport, sizeOfDelta } from "../../delta/make/builder.ts";
import { openImage } from "../../delta/make/images.ts";
import { pushDelta, writeArchive } from "../../delta/make/output.ts";
import { WorkDirectory } from "../../delta/make/work.ts";
import { hostPlatform, runnable } from "../../image/platform.ts";
import { parseRemote } from "../../image/reference.ts";
import { shown } from "../output/escape.ts";
import { interruptible } from "../output/interrupt.ts";
import { decimalSize } from "../output/size.ts";
import { note, print } from "../output/terminal.ts";
import { credentialsFor, credentialsOfFlag } from "./credentials.ts";
import { hostsDirectoryOf, type RegistryFlags } from "./transfer.ts";

export interface DeltaFlags extends RegistryFlags {
  readonly output?: string;
  /** True without a repository. */
  readonly push?: string | boolean;
  readonly platform?: string;
}

/** What the command line says beside its flags. */
export interface DeltaRequest {
  readonly namespace: string;
  readonly address: string;
  readonly old: string;
  readonly fresh: string;
}

/** Where configurations of registries are, unless told. */
const hostDirectories = ["/etc/berth/certs.d", "/etc/containerd/certs.d"];
/** Layers are large, and /tmp is often in memory. */
const TEMPORARY = "/var/tmp";

/** Makes a delta, and writes or pushes it. @throws Error, ContainerdError */
export async function delta(request: DeltaRequest, flags: DeltaFlags): Promise<void> {
  const { output, push = false } = flags;
  if (output === undefined && push === false) throw new Error("say where it goes: -o FILE, --push, or both");
  const platform = runnable(flags.platform === undefined ? hostPlatform() : parsePlatform(flags.platform));
  const { GrpcClient } = await import("../../client/grpc.ts");
  let api: InstanceType<typeof GrpcClient> | undefined;
  const daemon = (): { api: Api; namespace: string } => {
    if (!existsSync(request.address)) {
      const { old, fresh, address } = request;
      throw new Error(
        `${old} or ${fresh} is no file, and no daemon answers at ${address}: name archives, or --address`,
      );
    }
    api ??= new GrpcClient(request.address, { deadlineMs: 120_000 });
    return { api, namespace: request.namespace };
  };
  const work = new WorkDirectory(output === undefined ? TEMPORARY : dirname(resolve(output)));
  try {
    await interruptible(async (signal) => {
      const place = { work, platform, signal, daemon };
      const old = await openImage(request.old, place);
      const fresh = await openImage(request.fresh, place);
      const built = await buildDelta(work, old, fresh, flags.quiet ? undefined : tell);
      signal.throwIfAborted();
      if (output !== undefined) writeArchive(resolve(output), built);
      const pushed = push === false ? undefined : await pushTo(push, built, flags, signal);
      await print(summary(built, flags, pushed));
    });
  } finally {
    api?.close();
    work.remove();
  }
}

function tell({ digest, size, delta, kind, isExact }: LayerReport): void {
  const layer = `layer ${shown(digest.slice("sha256:".length, "sha256:".length + 12))}`;
  if (kind === "old") note(`${layer}: unchanged\n`);
  else if (kind === "whole") note(`${layer}: ${decimalSize(size)}, which no patch is much shorter than\n`);
  else {
    const how = isExact ? "" : ", to be kept uncompressed: what compressed it is not known here";
    note(`${layer}: ${decimalSize(delta)} instead of ${decimalSize(size)}${how}\n`);
  }
}

function summary(built: BuiltDelta, { output, quiet }: DeltaFlags, pushed: string | undefined): string {
  const places = [...(output === undefined ? [] : [output]), ...(pushed === undefined ? [] : [pushed])];
  if (quiet) return places.map((place) => `${shown(place)}\n`).join("");
  const size = sizeOfDelta(built);
  const whole = built.layers.filter(({ kind }) => kind !== "old").reduce((sum, { size }) => sum + size, 0);
  const part = whole === 0 ? "" : ` instead of ${decimalSize(whole)} (${((100 * size) / whole).toFixed(1)} %)`;
  return places.map((place) => `${shown(place)}: ${decimalSize(size)}${part}\n`).join("");
}

async function pushTo(
  repository: string | boolean,
  built: BuiltDelta,
  flags: DeltaFlags,
  signal: AbortSignal,
): Promise<string> {
  const { old, new: fresh } = built.document;
  const { openRegistry } = await import("../../image/registry/open.ts");
  const { locator } = parseRemote(typeof repository === "string" ? repository : fresh.name);
  const reference = `${locator}:${deltaTag(old.manifest, fresh.manifest.digest)}`;
  const given = flags.user === undefined ? undefined : await credentialsOfFlag(flags.user);
  const hosts = hostsDirectoryOf(reference, flags);
  const registry = openRegistry({
    reference,
    headers: {},
    hostDirectory: hosts.directory ?? hostDirectories.find((path) => existsSync(path)) ?? "",
    defaultScheme: flags.plainHttp ? "http" : "",
    credentials: {
      async get(host) {
        const found = given ?? (await credentialsFor(host));
        return found && { ...found, header: "" };
      },
    },
  });
  try {
    await pushDelta(registry, built, signal);
  } finally {
    hosts.remove();
  }
  return reference;
}
