/** Names that images are kept under when they are transferred (core/transfer/image/imagestore.go). */

import { ContainerdError, notFound } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Descriptor } from "./descriptor.ts";
import { applyPrefix } from "./reference.ts";

/** One more name for an image. */
export interface ExtraReference {
  readonly name: string;
  /** The name is only a prefix: tag or digest come from the image. */
  readonly isPrefix: boolean;
  /** Of a prefix: a full name in the archive counts as it is. */
  readonly allowOverwrite: boolean;
  /** Adds a name with the digest. */
  readonly addDigest: boolean;
  /** Of a prefix: no name with the digest when there is another one. */
  readonly skipNamedDigest: boolean;
}

/** What the names depend on. */
export interface Naming {
  /** Empty for none. */
  readonly name: string;
  readonly extraReferences: readonly ExtraReference[];
}

/** Names of something that was pulled, tagged, or is the index of an archive. @throws ContainerdError NotFound for none */
export function namesOfTarget({ name, extraReferences }: Naming, { digest }: Descriptor): string[] {
  const names = name === "" ? [] : [name];
  for (const reference of extraReferences) {
    if (!reference.isPrefix) names.push(reference.addDigest ? `${reference.name}@${digest}` : reference.name);
  }
  return required(names);
}

/** Names of a manifest in an archive, by its annotations. @throws ContainerdError NotFound for none */
export function namesInArchive({ extraReferences }: Naming, { digest, annotations = {} }: Descriptor): string[] {
  const names: string[] = [];
  for (const reference of extraReferences) {
    if (!reference.isPrefix) continue;
    const name = annotatedName(annotations, reference);
    if (name !== "") names.push(name);
    if (reference.addDigest && (name === "" || !reference.skipNamedDigest)) names.push(`${reference.name}@${digest}`);
  }
  return required(names);
}

/** containerd's annotation is a full name that may not be changed; OCI's may be only a tag. */
function annotatedName(
  annotations: Readonly<Record<string, string>>,
  { name, allowOverwrite }: ExtraReference,
): string {
  const full = annotations["io.containerd.image.name"] ?? "";
  if (full !== "") return applyPrefix(name, full, !allowOverwrite) === full ? full : "";
  const tag = annotations["org.opencontainers.image.ref.name"] ?? "";
  return tag === "" ? "" : applyPrefix(name, tag, !allowOverwrite);
}

function required(names: string[]): string[] {
  if (names.length === 0) throw notFound("no image name found: not found");
  return names;
}

/** The names under which images are looked up for an export. @throws ContainerdError Unimplemented for prefixes */
export function namesToExport({ name, extraReferences }: Naming): string[] {
  const names = name === "" ? [] : [name];
  for (const reference of extraReferences) {
    if (reference.isPrefix) {
      throw new ContainerdError(Code.Unimplemented, "prefix lookup on export not implemented: not implemented");
    }
    names.push(reference.name);
  }
  return names;
}
