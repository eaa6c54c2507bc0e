/** One line of the log, as logrus writes text. */

/** Levels in order; `warn` is written as logrus writes it, "warning". */
export const levels = { debug: 0, info: 1, warn: 2, error: 3 } as const;

export type Level = keyof typeof levels;

/** What a line says beside its message. Errors are written as their message. */
export type Fields = Readonly<Record<string, unknown>>;

/** Names whose values are never written. */
const secretName = /pass(?:word|wd)?$|secret|token$|authorization|credential|cookie|private_?key/i;
/** Longest value of a field, and longest message, in characters. */
const MAX_LENGTH = 65_536;

/** A line with its newline. @param at the time of it */
export function formatLine(at: Date, level: Level, message: string, fields: Fields = {}): string {
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}=${secretName.test(name) ? "***" : quoteIfNeeded(redact(textOf(value)))}`)
    .join("");
  const name = level === "warn" ? "warning" : level;
  return `time="${at.toISOString()}" level=${name} msg=${JSON.stringify(redact(message))}${rest}\n`;
}

/**
 * A text without what gives access: passwords in URLs, values of Authorization headers, tokens and signatures in
 * queries; and no longer than a log line should be.
 */
export function redact(text: string): string {
  const short = text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}… (${text.length} characters)` : text;
  return short
    .replace(/(:\/\/)[^/?#\s"'@]+@/g, "$1***@")
    .replace(/\b(Bearer|Basic)\s+[A-Za-z0-9\-._~+/]{6,}=*/gi, "$1 ***")
    .replace(/([?&][^=&\s"']*(?:token|secret|password|signature|credential|key)[^=&\s"']*=)[^&\s"']+/gi, "$1***")
    .replace(
      /("?(?:password|secret|identitytoken|registrytoken|access_token|refresh_token)"?\s*[:=]\s*"?)[^"\s,}]+/gi,
      "$1***",
    );
}

function textOf(value: unknown): string {
  if (value instanceof Error) return value.message;
  if (typeof value !== "object" || value === null) return String(value);
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

/** logrus leaves values of these characters bare. */
function quoteIfNeeded(text: string): string {
  return /^[A-Za-z0-9\-._/@^+]+$/.test(text) ? text : JSON.stringify(text);
}
