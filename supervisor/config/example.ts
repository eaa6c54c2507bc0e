/** The configuration as a commented file: every key with its default, ready to be edited. */

import type { TomlValue } from "./kinds.ts";
import { joinPath } from "./lines.ts";
import type { Key, Level } from "./table.ts";

/** The text of a file in which every key has its default. Tables of any name are commented out. */
export function exampleOf(level: Level): string {
  const lines: string[] = [];
  keysOf(level, "", lines);
  for (const [name, entry] of Object.entries(level)) {
    if ("kind" in entry) continue;
    const mark = "each" in entry ? "# " : "";
    lines.push("", `# ${entry.doc}`);
    lines.push(`${mark}[${joinPath("each" in entry ? [name, entry.example] : [name])}]`);
    keysOf("each" in entry ? entry.each : entry.keys, mark, lines);
  }
  return `${lines.join("\n").trimStart()}\n`;
}

function keysOf(level: Level, mark: string, lines: string[]): void {
  for (const [name, entry] of Object.entries(level)) {
    if ("kind" in entry) lines.push(`# ${commentOf(entry)}`, `${mark}${name} = ${toToml(entry.fallback)}`);
  }
}

function commentOf({ doc, kind }: Key<unknown>): string {
  return `${doc} (${kind.expected})`;
}

function toToml(value: TomlValue): string {
  if (typeof value === "object") return Array.isArray(value) ? JSON.stringify(value) : "{}";
  return JSON.stringify(value);
}
