/** Times as the database has them: whole microseconds since 1970. */

import type { google } from "../../proto/gen/supervisor.js";

/** The present. */
export function nowMicros(): number {
  return Math.round((performance.timeOrigin + performance.now()) * 1000);
}

/** A time as protobuf has it. */
export function timestampOf(micros: number): google.protobuf.Timestamp.$Properties {
  return { seconds: Math.floor(micros / 1e6), nanos: (micros % 1e6) * 1000 };
}

/** Microseconds of a time as protobuf has it; 0 for none. */
export function microsOf(time: google.protobuf.Timestamp.$Properties | null | undefined): number {
  return Number(time?.seconds ?? 0) * 1e6 + Math.floor((time?.nanos ?? 0) / 1000);
}
