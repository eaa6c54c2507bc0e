/** Where blobs and ingests are on disk, as containerd has them (plugins/content/local). */

import { join } from "node:path";
import { isDigest, splitDigest } from "./digest.ts";

/** Paths below the directory of the content store. */
export class Layout {
  readonly root: string;
  /** Blobs of the one algorithm that new blobs are named by. */
  readonly blobs: string;
  readonly ingests: string;

  /** @param root the directory `io.containerd.content.v1.content` */
  constructor(root: string) {
    this.root = root;
    this.blobs = join(root, "blobs", "sha256");
    this.ingests = join(root, "ingest");
  }

  /**
   * The file of a blob.
   * @throws Error for what is no digest: it must never come so far
   */
  blob(digest: string): string {
    if (!isDigest(digest)) throw new Error(`not a digest: ${JSON.stringify(digest)}`);
    const { algorithm, hex } = splitDigest(digest);
    return join(this.root, "blobs", algorithm, hex);
  }

  /** The directory of an ingest. */
  ingest(name: string): string {
    return join(this.ingests, name);
  }
}
