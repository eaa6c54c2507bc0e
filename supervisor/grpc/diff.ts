/** The Diff service. */

import type { containerd } from "../../proto/gen/supervisor.js";
import type { BlobReader } from "../content/reader.ts";
import { checkProcessors, type Diff } from "../diff/diff.ts";
import { required } from "./required.ts";
import type { Handlers } from "./server.ts";

/** Where blobs are. */
interface Blobs {
  readerAt(namespace: string, digest: string): Promise<Pick<BlobReader, "path" | "close">>;
}

export function diffService(diff: Diff, blobs: Blobs): Handlers<"containerd.services.diff.v1.Diff"> {
  return {
    async Apply({ diff: layer, mounts, payloads, syncFs }, { namespace, signal }) {
      const given = required(layer, "diff");
      const [mediaType, digest] = [given.mediaType ?? "", given.digest ?? ""];
      checkProcessors(mediaType, Object.keys(payloads));
      const blob = await blobs.readerAt(namespace, digest);
      try {
        const descriptor = { mediaType, digest, size: Number(given.size) };
        // Whatever the client asks for: what is committed next must survive a power cut.
        void syncFs;
        const options = { blobPath: blob.path, signal, syncFs: true };
        return { applied: await diff.apply(descriptor, mountsOf(mounts), options) };
      } finally {
        await blob.close();
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
