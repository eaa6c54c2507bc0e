/** How a process ended. */

import type { google } from "../../proto/gen/supervisor.js";

export type Timestamp = google.protobuf.Timestamp.$Properties;

export interface Exit {
  readonly pid: number;
  /** The exit code, or 128 plus the signal's number. */
  readonly status: number;
  /** Undefined when it did not run. */
  readonly at: Timestamp | undefined;
}

/** Of a container whose end nobody knows (core/runtime: UnknownExitStatus). */
export const UNKNOWN_STATUS = 255;

/** What Go's zero time is in protobuf: containerd sends it for "never". */
export const never: Timestamp = { seconds: -62_135_596_800, nanos: 0 };

/** The time; {@link never} for none, or one that is all zeros. */
export function timeOr(at: Timestamp | null | undefined): Timestamp {
  return at && (Number(at.seconds ?? 0) !== 0 || (at.nanos ?? 0) !== 0) ? at : never;
}

/** True when both say the same moment. */
export function isSameTime(a: Timestamp | null | undefined, b: Timestamp | null | undefined): boolean {
  return Number(a?.seconds ?? 0) === Number(b?.seconds ?? 0) && (a?.nanos ?? 0) === (b?.nanos ?? 0);
}
