/** Times for people: how long ago, how long, and what a person types for a moment. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A length of time in words, as docker says it: `3 minutes`, `About an hour`. @param ms not negative */
export function duration(ms: number): string {
  if (ms < SECOND) return "Less than a second";
  if (ms < 2 * SECOND) return "1 second";
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} seconds`;
  if (ms < 2 * MINUTE) return "About a minute";
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} minutes`;
  if (ms < 1.5 * HOUR) return "About an hour";
  if (ms < 2 * DAY) return `${Math.round(ms / HOUR)} hours`;
  if (ms < 14 * DAY) return `${Math.floor(ms / DAY)} days`;
  if (ms < 60 * DAY) return `${Math.floor(ms / (7 * DAY))} weeks`;
  if (ms < 730 * DAY) return `${Math.floor(ms / (30 * DAY))} months`;
  return `${Math.floor(ms / (365 * DAY))} years`;
}

/**
 * How long ago a moment was: `3 minutes ago`. A clock that was set back makes moments of the future: `in 2 hours`.
 * @param at undefined, or an invalid date, gives `N/A`
 */
export function ago(at: Date | undefined, now: Date = new Date()): string {
  if (at === undefined || Number.isNaN(at.getTime())) return "N/A";
  const ms = now.getTime() - at.getTime();
  return ms >= 0 ? `${duration(ms)} ago` : `in ${duration(-ms).toLowerCase()}`;
}

/** A length of time in few characters, for columns: `45s`, `12m`, `3h`, `5d`. */
export function shortDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / SECOND));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

const units: Readonly<Record<string, number>> = { ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: DAY };

/** Milliseconds of a length of time as Go and people write it: `90s`, `1h30m`, `2d`; undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, number = "0", unit = "s"] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    sum += Number(number) * (units[unit] ?? 0);
  }
  return sum;
}

/**
 * A moment as a person gives it: a length of time before now (`10m`), seconds since the epoch, or a date (RFC 3339, or
 * the beginning of one in local time). Undefined when it is none.
 */
export function parseMoment(text: string, now: Date = new Date()): Date | undefined {
  const length = parseDuration(text);
  if (length !== undefined) return new Date(now.getTime() - length);
  if (/^\d+(?:\.\d+)?$/.test(text)) return validDate(Number(text) * SECOND);
  if (!/^\d{4}-\d\d-\d\d/.test(text)) return undefined;
  // A date alone would be taken for UTC, a date with a time for local time.
  return validDate(Date.parse(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00` : text));
}

function validDate(ms: number): Date | undefined {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? undefined : date;
}
