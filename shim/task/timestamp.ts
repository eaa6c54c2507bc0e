/** Points in time as protobuf has them. */

/** What Go has for no time, midnight of the year 1: clients look for it to see that something has not happened. */
const never = -62_135_596_800;

/** @param milliseconds since the epoch; undefined for what has not happened */
export function timestamp(milliseconds: number | undefined): { seconds: number; nanos: number } {
  if (milliseconds === undefined) return { seconds: never, nanos: 0 };
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, nanos: Math.round((milliseconds - seconds * 1000) * 1e6) };
}
