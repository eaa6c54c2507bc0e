/** The Transfer service: what both ends are, told by messages of many types. */

import { ContainerdError, notFound } from "../../proto/errdefs.ts";
import { containerd, type google } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import { typeName } from "../../proto/typeurl.ts";
import { AuthStream } from "../image/auth-stream.ts";
import type { Platform } from "../image/platform.ts";
import type { Progress, Report } from "../image/progress.ts";
import type { RegistryRequest } from "../image/registry/open.ts";
import type { Registry } from "../image/registry.ts";
import { ByteSender, receiveBytes } from "../image/stream/bytes.ts";
import type { Stream, Streams } from "../image/stream/streams.ts";
import type { End, Transfers } from "../image/transfer.ts";
import type { CallContext } from "./context.ts";
import type { Handlers } from "./server.ts";

const types = containerd.types.transfer;
const PREFIX = "containerd.types.transfer.";

/** What the service works with. */
export interface TransferParts {
  readonly transfers: Transfers;
  readonly streams: Streams;
  readonly registry: (request: RegistryRequest) => Registry;
}

export function transferService(parts: TransferParts): Handlers<"containerd.services.transfer.v1.Transfer"> {
  return {
    async Transfer({ source, destination, options }, context) {
      const { namespace, lease, signal } = context;
      const progress = options?.progressStream ? streamOf(options.progressStream, parts, context) : undefined;
      const reporter = progress && new Reporter(progress);
      try {
        const from = endOf(source, parts, context);
        const to = endOf(destination, parts, context);
        const report: Report = (step) => reporter?.report(step);
        if (!(await parts.transfers.transfer(from, to, { namespace, lease, signal, report }))) {
          throw new ContainerdError(
            Code.Unimplemented,
            `method Transfer not implemented for ${source?.type_url ?? ""} to ${destination?.type_url ?? ""}`,
          );
        }
        await reporter?.flush();
      } catch (error) {
        await reporter?.flush();
        throw signal.aborted ? new ContainerdError(Code.Canceled, "context canceled", { cause: error }) : error;
      } finally {
        progress?.close();
      }
      return {};
    },
  };
}

/** Steps that wait for a client at most; of more, those about bytes are left out. */
const MAX_STEPS = 4096;

/** Sends progress in the order in which it happened, without anybody waiting for it. */
class Reporter {
  readonly #stream: Stream;
  #waiting = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  report(step: Progress): void {
    if (this.#waiting >= MAX_STEPS && step.progress !== undefined && step.progress !== step.total) return;
    this.#waiting++;
    const message = { type_url: `${PREFIX}Progress`, value: types.Progress.encode(encoded(step)).finish() };
    this.#last = this.#last
      .then(() => this.#stream.send(message))
      // A client that looks no more at the progress may still want the transfer.
      .catch(() => undefined)
      .finally(() => this.#waiting--);
  }

  /** Resolves when everything is sent. */
  flush(): Promise<void> {
    return this.#last;
  }
}

function encoded({
  event,
  name,
  parents,
  progress,
  total,
  descriptor,
}: Progress): containerd.types.transfer.Progress.$Properties {
  return {
    event,
    name: name ?? "",
    parents: [...(parents ?? [])],
    progress: progress ?? 0,
    total: total ?? 0,
    desc: descriptor
      ? {
          mediaType: descriptor.mediaType,
          digest: descriptor.digest,
          size: descriptor.size,
          annotations: { ...descriptor.annotations },
        }
      : null,
  };
}

/** A stream that the call uses. A caller that is gone may have left it open, and unread. */
function streamOf(id: string, { streams }: TransferParts, { namespace, signal }: CallContext): Stream {
  const found = streams.get(namespace, id);
  signal.addEventListener("abort", () => found.close(), { once: true });
  if (signal.aborted) found.close();
  return found;
}

function endOf(
  any: google.protobuf.Any.$Properties | null | undefined,
  parts: TransferParts,
  context: CallContext,
): End {
  const name = any ? typeName(any) : "";
  const value = any?.value ?? new Uint8Array();
  const stream = (id: string): Stream => streamOf(id, parts, context);
  switch (name) {
    case `${PREFIX}ImageStore`: {
      const store = types.ImageStore.decode(value);
      return {
        kind: "store",
        name: store.name,
        labels: { ...store.labels },
        platforms: store.platforms.map(platformOf),
        allMetadata: store.allMetadata,
        manifestLimit: store.manifestLimit,
        extraReferences: store.extraReferences.map((reference) => ({
          name: reference.name ?? "",
          isPrefix: reference.isPrefix ?? false,
          allowOverwrite: reference.allowOverwrite ?? false,
          addDigest: reference.addDigest ?? false,
          skipNamedDigest: reference.skipNamedDigest ?? false,
        })),
        unpacks: store.unpacks.map(({ platform, snapshotter }) => ({
          platform: platformOf(platform ?? {}),
          snapshotter: snapshotter ?? "",
        })),
      };
    }
    case `${PREFIX}OCIRegistry`: {
      const { reference, resolver } = types.OCIRegistry.decode(value);
      const { authStream = "", headers, hostDir, defaultScheme } = resolver ?? {};
      const credentials = authStream ? new AuthStream(stream(authStream), reference) : undefined;
      const request: RegistryRequest = {
        reference,
        headers: { ...headers },
        hostDirectory: hostDir ?? "",
        defaultScheme: defaultScheme ?? "",
        credentials,
      };
      return { kind: "registry", registry: parts.registry(request) };
    }
    case `${PREFIX}ImageImportStream`: {
      const { stream: id, mediaType, forceCompress } = types.ImageImportStream.decode(value);
      return { kind: "import", bytes: receiveBytes(stream(id)), mediaType, compress: forceCompress };
    }
    case `${PREFIX}ImageExportStream`: {
      const archive = types.ImageExportStream.decode(value);
      return {
        kind: "export",
        sink: new ByteSender(stream(archive.stream)),
        platforms: archive.platforms.map(platformOf),
        allPlatforms: archive.allPlatforms,
        skipDockerManifest: archive.skipCompatibilityManifest,
        skipNonDistributable: archive.skipNonDistributable,
      };
    }
    default:
      throw notFound(`type with url ${any?.type_url ?? ""}: not found`);
  }
}

function platformOf(platform: containerd.types.Platform.$Properties): Platform {
  const { os, architecture, variant, osVersion, osFeatures } = platform;
  return {
    os: os ?? "",
    architecture: architecture ?? "",
    variant: variant ?? "",
    osVersion: osVersion ?? "",
    osFeatures: [...(osFeatures ?? [])],
  };
}
