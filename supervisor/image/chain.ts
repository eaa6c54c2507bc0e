/** Chain ids: names for a layer together with all below it (image-spec, identity/chainid.go). */

import { digestOf } from "./descriptor.ts";

/** The chain id of each layer, from the digests of the uncompressed layers, lowest first. */
export function chainIds(diffIds: readonly string[]): string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(below === undefined ? diffId : digestOf(`${below} ${diffId}`));
  }
  return chain;
}
