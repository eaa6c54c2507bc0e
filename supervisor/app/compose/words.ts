/** A command written as one text, taken apart as a shell would: quotes and backslashes, but no variables. Pure. */

/** @returns undefined when a quote is not closed */
export function splitWords(text: string): string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  for (let at = 0; at < text.length; at++) {
    const letter = text[at] ?? "";
    if (letter === "'") {
      const end = text.indexOf("'", at + 1);
      if (end < 0) return undefined;
      word = (word ?? "") + text.slice(at + 1, end);
      at = end;
    } else if (letter === '"') {
      word ??= "";
      for (at++; text[at] !== '"'; at++) {
        if (at >= text.length) return undefined;
        const isEscape = text[at] === "\\" && /["\\$`\n]/.test(text[at + 1] ?? "");
        if (isEscape) at++;
        if (!(isEscape && text[at] === "\n")) word += text[at] ?? "";
      }
    } else if (letter === "\\") {
      if (at + 1 >= text.length) return undefined;
      at++;
      if (text[at] !== "\n") word = (word ?? "") + text[at];
    } else if (/\s/.test(letter)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? "") + letter;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}
