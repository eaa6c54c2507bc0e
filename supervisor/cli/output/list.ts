/** Lists: a table for people, JSON for programs, names alone for both. */

import type { Command } from "commander";
import { type ContainerdError, invalidArgument } from "../../../proto/errdefs.ts";
import { shown, shownJson } from "./escape.ts";
import { type TableColumn, tableOf } from "./table.ts";
import { print, widthOf } from "./terminal.ts";

/** What the flags of {@link addListFlags} say. */
export interface ListFlags {
  /** `table`, `json`, or a template such as `{{.ID}} {{.Size}}`, with `table ` before it for one with a header. */
  readonly format?: string;
  readonly quiet?: boolean;
  /** False with `--no-trunc`. */
  readonly trunc?: boolean;
}

/** An object for programs; the keys are docker's. */
export type Item = Readonly<Record<string, unknown>>;

/** How a kind of thing is listed. */
export interface Listing<Row> {
  /** @param full ids and texts are not cut */
  columns(full: boolean): readonly TableColumn<Row>[];
  item(row: Row): Item;
  /** What `-q` prints. @param full ids are not cut */
  id(row: Row, full: boolean): string;
}

/** Adds `--format`, `-q` and `--no-trunc` to a verb. */
export function addListFlags(command: Command): Command {
  return command
    .option("--format <format>", "table, json (an object a line), or a template such as '{{.ID}} {{.Size}}'")
    .option("-q, --quiet", "only print ids")
    .option("--no-trunc", "do not shorten ids and texts");
}

/** Prints a list as the flags want it. @throws ContainerdError InvalidArgument for a format that is none */
export async function printList<Row>(rows: readonly Row[], listing: Listing<Row>, flags: ListFlags): Promise<void> {
  await print(listOf(rows, listing, flags, widthOf()));
}

/** The text of {@link printList}. @param width of the terminal, undefined for none */
export function listOf<Row>(rows: readonly Row[], listing: Listing<Row>, flags: ListFlags, width?: number): string {
  const full = flags.trunc === false;
  if (flags.quiet) return rows.map((row) => `${shown(listing.id(row, full))}\n`).join("");
  const format = flags.format ?? "table";
  if (format === "json") return rows.map((row) => `${shownJson(listing.item(row))}\n`).join("");
  if (format === "table") return tableOf(rows, listing.columns(full), full ? undefined : width);
  if (!format.includes("{{")) throw unknownFormat(format);
  const isTable = /^table\s/.test(format);
  const template = isTable ? format.replace(/^table\s+/, "") : format;
  const items = rows.map((row) => listing.item(row));
  if (!isTable) return items.map((item) => `${fill(template, item)}\n`).join("");
  const parts = template.split(/\\t|\t/);
  const columns = parts.map((part) => ({
    header: part.replace(/\{\{\s*\.(\w+)\s*\}\}/g, (_, key: string) => key.toUpperCase()),
    cell: (item: Item) => fill(part, item),
  }));
  return tableOf(items, columns);
}

function unknownFormat(format: string): ContainerdError {
  return invalidArgument(`--format ${JSON.stringify(format)}: it is table, json, or a template such as '{{.ID}}'`);
}

/** Fills `{{.Key}}` and `{{json .Key}}` in, and knows `\t` and `\n`, as docker's templates. @throws ContainerdError */
export function fill(template: string, item: Item): string {
  return template
    .replace(/\\t/g, "\t")
    .replace(/\\n/g, "\n")
    .replace(/\{\{\s*(json\s+)?\.([\w.]*)\s*\}\}/g, (_, json: string | undefined, key: string) => {
      const value = lookUp(item, key);
      if (json !== undefined) return shownJson(value);
      return typeof value === "object" && value !== null ? shownJson(value) : shown(String(value ?? ""));
    });
}

function lookUp(item: Item, path: string): unknown {
  let value: unknown = item;
  for (const key of path.split(".").filter((part) => part !== "")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) {
      throw invalidArgument(
        `--format: there is no .${path}; there are ${Object.keys(item)
          .map((name) => `.${name}`)
          .join(", ")}`,
      );
    }
    value = (value as Item)[key];
  }
  return value;
}
