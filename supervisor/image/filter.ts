/** Which parts of an image are transferred: by platform, by number (core/images/handlers.go). */

import { notFound } from "../../proto/errdefs.ts";
import { childLabels, type Descriptor } from "./descriptor.ts";
import { childrenOf } from "./manifest.ts";
import { isConfig, isIndex, isManifest } from "./mediatype.ts";
import { everything, type Matcher, ordered, type Platform } from "./platform.ts";
import type { Blobs } from "./stores.ts";
import type { Visit } from "./walk.ts";

/** What is wanted of an image. */
export interface Selection {
  /** All when empty. */
  readonly platforms: readonly Platform[];
  /** Manifests and configurations of other platforms too. */
  readonly allMetadata: boolean;
  /** Most manifests of an index; 0 for all. */
  readonly manifestLimit: number;
}

/**
 * Gives what a blob refers to, as far as it is wanted, and notes all of it in the labels that keep it from collection.
 * @param children finds out what a blob refers to, when not by reading it
 */
export function wantedChildren(
  blobs: Blobs,
  { platforms, allMetadata, manifestLimit }: Selection,
  children: Visit = (descriptor) => childrenOf(blobs, descriptor),
): Visit {
  const matcher = platforms.length === 0 ? everything : ordered(...platforms);
  return async (descriptor) => {
    const all = await children(descriptor);
    if (all.length > 0) await blobs.label(descriptor.digest, childLabels(all));
    const wanted = allMetadata ? withMetadata(descriptor, all, matcher) : fitting(all, matcher);
    return manifestLimit > 0 && isIndex(descriptor.mediaType) ? best(wanted, matcher, manifestLimit) : wanted;
  };
}

function fitting(children: readonly Descriptor[], matcher: Matcher): readonly Descriptor[] {
  return children.filter(({ platform }) => platform === undefined || matcher.matches(platform));
}

/** All manifests, but of those for other platforms only the configuration. */
function withMetadata(parent: Descriptor, children: readonly Descriptor[], matcher: Matcher): readonly Descriptor[] {
  const isOther = isManifest(parent.mediaType) && parent.platform !== undefined && !matcher.matches(parent.platform);
  return isOther ? children.filter(({ mediaType }) => isConfig(mediaType)) : children;
}

function best(children: readonly Descriptor[], matcher: Matcher, limit: number): readonly Descriptor[] {
  if (children.length === 0) throw notFound("no match for platform in manifest: not found");
  const order = (a: Descriptor, b: Descriptor): number =>
    a.platform && b.platform ? matcher.compare(a.platform, b.platform) : (a.platform ? 0 : 1) - (b.platform ? 0 : 1);
  return [...children].sort(order).slice(0, limit);
}
