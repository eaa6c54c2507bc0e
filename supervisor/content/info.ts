/** What is told of a blob, and how it is changed. */

import { invalidArgument, notFound } from "../../proto/errdefs.ts";
import type { Labels } from "../store/labels.ts";
import { quote } from "../store/quote.ts";
import type { BlobInfo } from "./records.ts";

/** What a client is told of a damaged blob: that it is not there, so that it fetches it again. */
export function damaged(digest: string, problem: string): Error {
  return notFound(`content digest ${digest} is damaged on disk (${problem}), fetch it again: not found`);
}

/** Fields of blobs that filters know (core/content/adaptor.go). */
export function fieldOf(info: BlobInfo, [first, ...rest]: readonly string[]): string | undefined {
  if (first === "digest" && rest.length === 0) return info.digest;
  if (first !== "labels" || rest.length === 0) return undefined;
  const key = rest.join(".");
  return Object.hasOwn(info.labels, key) ? info.labels[key] : undefined;
}

/** The labels of a blob after an update. @throws ContainerdError InvalidArgument for a path that is none of labels */
export function updatedLabels(before: BlobInfo, labels: Labels, paths: readonly string[]): Record<string, string> {
  if (paths.length === 0) return { ...labels };
  let updated: Record<string, string> = { ...before.labels };
  for (const path of paths) {
    if (path === "labels") {
      updated = { ...labels };
    } else if (path.startsWith("labels.")) {
      const key = path.slice("labels.".length);
      updated[key] = Object.hasOwn(labels, key) ? (labels[key] ?? "") : "";
    } else {
      throw invalidArgument(
        `cannot update ${quote(path)} field on content info ${quote(before.digest)}: invalid argument`,
      );
    }
  }
  return updated;
}
