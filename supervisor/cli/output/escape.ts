/**
 * Text that others wrote, made fit to be shown. Names, labels, comments and messages come from images, containers and
 * registries: on a terminal their control characters would be commands.
 */

/**
 * C0 but for nothing, DEL, C1, line separators, and what turns the direction of text around (Trojan Source).
 * Tabs and line feeds are escaped too: they would break a table.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that are replaced
const hostile = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g;
/** Halves of pairs that lost the other half. */
const lonely = /[\ud800-\udfff]/gu;

const short: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** One line of text that does nothing to a terminal: control characters are shown as escapes such as `\x1b`. */
export function shown(text: string): string {
  return text.replace(hostile, escapeOf).replace(lonely, "\ufffd");
}

/** Like {@link shown}, for text of several lines: line feeds and tabs stay. */
export function shownLines(text: string): string {
  return text.replace(hostile, (character) =>
    character === "\n" || character === "\t" ? character : escapeOf(character),
  );
}

/** A value as JSON on one line, or with so many spaces of indent, whose strings do nothing to a terminal either. */
export function shownJson(value: unknown, indent?: number): string {
  const text = JSON.stringify(value, (_, item: unknown) => (typeof item === "bigint" ? Number(item) : item), indent);
  // JSON itself escapes C0; what it leaves is only in strings, but for the line feeds of the indent.
  return (text ?? "null").replace(hostile, (character) => (character === "\n" ? character : unicode(character)));
}

function escapeOf(character: string): string {
  const code = character.charCodeAt(0);
  return short[character] ?? (code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : unicode(character));
}

function unicode(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
