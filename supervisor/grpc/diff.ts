/** The Diff service. */

import type { containerd } from "../../proto/gen/supervisor.js";
import type { BlobReader } from "../content/reader.ts";
import type { Diff, LayerBlob } from "../diff/diff.ts";
import type { Labels } from "../store/labels.ts";
import { required } from "./required.ts";
import type { Handlers } from "./server.ts";

/** Where blobs are. */
interface Blobs {
  readerAt(namespace: string, digest: string): Promise<Pick<BlobReader, "path" | "close">>;
  writer(namespace: string, options: { readonly ref: string; readonly lease?: string | undefined }): Promise<LayerBlob>;
  abort(namespace: string, ref: string): Promise<void>;
  update(namespace: string, digest: string, labels: Labels, paths: readonly string[]): Promise<unknown>;
}

/** Payloads of a request are for stream processors; clients send them with every layer, in case it is encrypted. */
export function diffService(diff: Diff, blobs: Blobs): Handlers<"containerd.services.diff.v1.Diff"> {
  return {
    async Apply({ diff: layer, mounts, syncFs }, { namespace, signal }) {
      const given = required(layer, "diff");
      const [mediaType, digest] = [given.mediaType ?? "", given.digest ?? ""];
      const blob = await blobs.readerAt(namespace, digest);
      try {
        const descriptor = { mediaType, digest, size: Number(given.size) };
        const options = { blobPath: blob.path, signal, syncFs };
        return { applied: await diff.apply(descriptor, mountsOf(mounts), options) };
      } finally {
        await blob.close();
      }
    },
    async Diff({ left, right, mediaType, ref, labels, sourceDateEpoch }, { namespace, lease, signal }) {
      const name = ref || `${Date.now()}000000-${crypto.getRandomValues(Buffer.alloc(3)).toString("base64url")}`;
      const options = {
        mediaType,
        labels: { ...labels },
        latest: sourceDateEpoch ? Number(sourceDateEpoch.seconds ?? 0) : undefined,
        label: async (digest: string, added: Labels) => {
          const paths = Object.keys(added).map((key) => `labels.${key}`);
          await blobs.update(namespace, digest, added, paths);
        },
        open: () => blobs.writer(namespace, { ref: name, lease }),
        signal,
      };
      try {
        return { diff: await diff.compare(mountsOf(left), mountsOf(right), options) };
      } catch (error) {
        // A name that the client gave is the client's to try again with; nobody knows ours.
        if (ref === "") await blobs.abort(namespace, name).catch(() => undefined);
        throw error;
      }
    },
  };
}

function mountsOf(mounts: readonly containerd.types.Mount.$Properties[]) {
  return mounts.map(({ type, source, target, options }) => ({
    type: type ?? "",
    source: source ?? "",
    target: target ?? "",
    options: [...(options ?? [])],
  }));
}
