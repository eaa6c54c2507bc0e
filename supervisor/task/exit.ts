/** How a process ended. */

import type { google } from "../../proto/gen/supervisor.js";
import { now } from "../event/exchange.ts";

export type Timestamp = google.protobuf.Timestamp.$Properties;

export interface Exit {
  readonly pid: number;
  /** The exit code, or 128 plus the signal's number. */
  readonly status: number;
  /** Undefined when it did not run. */
  readonly at: Timestamp | undefined;
}

/** Of a container whose end nobody knows (core/runtime: UnknownExitStatus). */
const UNKNOWN_STATUS = 255;

/** The end of a container that nobody saw. */
export function unknownEnd(): Exit {
  return { pid: 0, status: UNKNOWN_STATUS, at: now() };
}

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
