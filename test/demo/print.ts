/** Output for a terminal: headings, aligned tables, sizes and times. */

const colours = process.stdout.isTTY && !process.env["NO_COLOR"];

/** Bold on a terminal. */
export function bold(text: string): string {
  return colours ? `\x1b[1m${text}\x1b[0m` : text;
}

/** Dim on a terminal. */
export function dim(text: string): string {
  return colours ? `\x1b[2m${text}\x1b[0m` : text;
}

/** Prints a heading with an empty line before it. */
export function heading(text: string): void {
  console.log(`\n${bold(text)}`);
}

/**
 * Prints rows with their columns aligned.
 * @param right columns that are set to the right, by index
 */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): void {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, Bun.stringWidth(cell));
  }
  for (const row of rows) {
    const cells = row.map((cell, i) => {
      const gap = " ".repeat((widths[i] ?? 0) - Bun.stringWidth(cell));
      return right.includes(i) ? gap + cell : cell + gap;
    });
    console.log(`  ${cells.join("   ").trimEnd()}`);
  }
}

/** A size in megabytes (of 1024 * 1024 bytes) with one digit. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}

/** A time in milliseconds, with one digit below ten. */
export function milliseconds(ms: number): string {
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}
