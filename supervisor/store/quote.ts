/** Text in quotes as Go's %q writes it, which containerd's messages use for names that clients gave. */

const escapes: Readonly<Record<string, string>> = {
  "\u0007": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
  '"': '\\"',
  "\\": "\\\\",
};

/** What Go does not print as it is: controls, separators but for the space, formats, surrogates, private use. */
const special = /["\\]|[^\P{C}]|[^\P{Z} ]/gu;

/** `text` in double quotes. */
export function quote(text: string): string {
  return `"${text.replace(special, (char) => escapes[char] ?? escapeCode(char.codePointAt(0) ?? 0))}"`;
}

function escapeCode(code: number): string {
  const hex = code.toString(16);
  if (code < 0x80) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}
