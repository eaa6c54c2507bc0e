/** Making a container out of an image and options. */

import { notImplemented } from "../../proto/errdefs.ts";
import type { Api } from "../client/api.ts";
import type { RunOptions } from "./options.ts";

/** One step of a pull. */
export interface PullStep {
  readonly event: string;
  readonly name: string;
  readonly progress: number;
  readonly total: number;
}

/** How a container is made. */
export interface CreateOptions {
  /** Cancels it; then nothing is left. */
  readonly signal?: AbortSignal | undefined;
  /** Told of every step of a pull. */
  readonly onProgress?: (step: PullStep) => void;
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
  _api: Api,
  _namespace: string,
  options: RunOptions,
  _how: CreateOptions = {},
): Promise<CreatedContainer> {
  throw notImplemented(`making a container of ${options.image} is not there yet`);
}
