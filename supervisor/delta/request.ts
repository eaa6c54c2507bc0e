/** What the daemon and the process that applies a patch say to each other. */

import type { Recipe } from "./recipe.ts";

/** A layer that the patch is made of: its file, and how many bytes it has uncompressed. */
export interface BaseFile {
  readonly path: string;
  readonly bytes: number;
}

/** To make a layer of old ones. */
export interface PatchRequest {
  /** Pid of the daemon: the process ends with it. */
  readonly parent: number;
  /** Path of the patch. */
  readonly patch: string;
  readonly bases: readonly BaseFile[];
  /** A directory for a file without a name, where the patch goes far back in the old layers. */
  readonly temporary: string;
  /** How the layer is compressed. */
  readonly recipe: Recipe;
  /** Bytes and digest of the layer, uncompressed. */
  readonly bytes: number;
  readonly diffId: string;
}

/** The layer that was made, uncompressed. */
export interface Patched {
  readonly digest: string;
}
