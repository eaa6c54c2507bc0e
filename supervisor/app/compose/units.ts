/** Sizes and times as Compose writes them. */

import { type Reader, wrong } from "./reader.ts";

const sizes: Readonly<Record<string, number>> = { "": 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** A size in bytes: `64m`, `1.5gb`, `1024`; units are powers of 1024, as docker has them. */
export function bytes(from = 0, to = 2 ** 53 - 1): Reader<number> {
  return (node, problems) => {
    const [, count, unit = ""] = node.kind === "text" ? (/^(\d+(?:\.\d+)?) ?([a-zA-Z]*)$/.exec(node.text) ?? []) : [];
    const factor = sizes[unit.toLowerCase().replace(/i?b$/, "")];
    const value = count === undefined || factor === undefined ? Number.NaN : Math.floor(Number(count) * factor);
    if (value >= from && value <= to) return value;
    return wrong(node, problems, `a size such as "64m" or "1g"${from > 0 ? `, at least ${from} bytes` : ""}`);
  };
}

const times: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A time in milliseconds: `1m30s`, `500ms`; a number alone is seconds. */
export const duration: Reader<number> = (node, problems) => {
  if (node.kind === "text") {
    if (/^\d+$/.test(node.text) && Number(node.text) <= 31_536_000) return Number(node.text) * 1000;
    const parts = [...node.text.matchAll(/(\d+(?:\.\d+)?)(us|ms|s|m|h|d)/g)];
    const isWhole = parts.length > 0 && parts.map(([part]) => part).join("") === node.text;
    const value = parts.reduce((sum, [, count, unit = ""]) => sum + Number(count) * (times[unit] ?? Number.NaN), 0);
    if (isWhole && value <= 31_536_000_000) return Math.round(value);
  }
  return wrong(node, problems, 'a time such as "10s", "1m30s" or "500ms"');
};
