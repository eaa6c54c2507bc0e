/** What transfers need of a registry. */

import type { Descriptor } from "./descriptor.ts";
import type { BlobReader } from "./stores.ts";

/** One repository of a registry, with the credentials for it. */
export interface Registry {
  /** The name that was asked for. */
  readonly reference: string;
  /** Another name in the same repository, with the same credentials; missing where nothing else can be asked for. */
  at?(reference: string): Registry;
  /** Asks what the name stands for. @throws ContainerdError NotFound, and what registries refuse with */
  resolve(signal: AbortSignal): Promise<Descriptor>;
  /**
   * Begins to fetch a blob from `offset` on. The bytes are not checked.
   * @throws ContainerdError NotFound; TransientError for what may go better next time, also from the iteration
   */
  fetch(descriptor: Descriptor, offset: number, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  /**
   * Gives the registry a blob or manifest.
   * @param isRoot true for what the name is to stand for
   * @param moved told how many bytes have gone
   * @returns false when it had it
   */
  push(
    descriptor: Descriptor,
    open: () => Promise<BlobReader>,
    options: { readonly signal: AbortSignal; readonly isRoot: boolean; readonly moved: (bytes: number) => void },
  ): Promise<boolean>;
}
