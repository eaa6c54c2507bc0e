/** The words of a line that somebody is typing, by the shell's quotes: nothing is expanded or run. */

/** @returns the words; the last is what is being typed, empty after a space */
export function wordsOf(line: string): string[] {
  const words: string[] = [];
  let word = "";
  let quote = "";
  let isWord = false;
  for (let at = 0; at < line.length; at++) {
    const character = line[at] ?? "";
    if (quote !== "") {
      if (character === quote) quote = "";
      else if (character === "\\" && quote === '"' && at + 1 < line.length) word += line[++at];
      else word += character;
    } else if (character === "'" || character === '"') {
      quote = character;
      isWord = true;
    } else if (character === "\\") {
      word += line[++at] ?? "";
      isWord = true;
    } else if (/\s/.test(character)) {
      if (isWord || word !== "") words.push(word);
      word = "";
      isWord = false;
    } else word += character;
  }
  words.push(word);
  return words;
}
