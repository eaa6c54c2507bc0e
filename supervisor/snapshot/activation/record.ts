/** Activations as the database has them, and as clients see them. */

import { containerd } from "../../../proto/gen/supervisor.js";
import type { Labels } from "../../store/labels.ts";
import { timestampOf } from "../../store/time.ts";
import type { SnapshotMount } from "../snapshotter.ts";
import type { MadeMount } from "./transform.ts";

const { ActivationInfo } = containerd.types;

/** An activation as clients see it. */
export type Activation = ReturnType<typeof ActivationInfo.decode>;

/** A mount that was made. */
export interface TimedMount extends MadeMount {
  /** Microseconds since 1970. */
  readonly mountedAt: number;
}

/** The record of an activation that is finished. @param system what is left for the client to mount */
export function recordOf(
  name: string,
  labels: Labels,
  made: readonly TimedMount[],
  system: readonly SnapshotMount[],
): Uint8Array {
  return ActivationInfo.encode({
    name,
    labels: { ...labels },
    system: system.map(copyOf),
    active: made.map((mount) => ({
      mount: copyOf(mount),
      mountPoint: mount.mountPoint,
      mountedAt: timestampOf(mount.mountedAt),
    })),
  }).finish();
}

/** What a row tells; one whose record is empty is not finished, and has no mounts yet. */
export function activationOf({ name, record }: { readonly name: string; readonly record: Uint8Array }): Activation {
  return ActivationInfo.decode(record.length === 0 ? ActivationInfo.encode({ name }).finish() : record);
}

function copyOf({ type, source, target, options }: SnapshotMount): containerd.types.Mount.$Properties {
  return { type, source, target, options: [...options] };
}
