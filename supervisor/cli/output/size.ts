/** Sizes for people, as docker writes them: the one place where bytes become text. */

const decimal = ["B", "kB", "MB", "GB", "TB", "PB"];
const binary = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
/** What text may say, in bytes; a letter alone is binary, as docker takes it. */
const factors: Readonly<Record<string, number>> = { b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** Bytes in powers of 1000: `1.24MB`. For what lies on disk or goes over a network. @param digits that count */
export function decimalSize(bytes: number, digits = 3): string {
  return sizeOf(bytes, 1000, decimal, digits);
}

/** Bytes in powers of 1024: `12.34MiB`. For memory. @param digits that count */
export function binarySize(bytes: number, digits = 4): string {
  return sizeOf(bytes, 1024, binary, digits);
}

function sizeOf(bytes: number, base: number, units: readonly string[], digits: number): string {
  let value = Math.max(0, bytes);
  let unit = 0;
  // What would be rounded up to the base is said in the next unit.
  while (unit < units.length - 1 && Number(value.toPrecision(digits)) >= base) {
    value /= base;
    unit++;
  }
  return `${Number(value.toPrecision(digits))}${units[unit]}`;
}

/** Bytes of a text such as `512m`, `1.5g` or `4096`; undefined when it is none. */
export function parseSize(text: string): number | undefined {
  const [, number, letter = "b"] = /^(\d+(?:\.\d+)?) ?([bkmgt]?)(?:i?b)?$/i.exec(text.trim()) ?? [];
  if (number === undefined) return undefined;
  const bytes = Math.floor(Number(number) * (factors[letter.toLowerCase() || "b"] ?? 1));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
