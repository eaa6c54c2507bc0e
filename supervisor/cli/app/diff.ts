/** What `berth apply` would do, for people and for programs. */

import { invalidArgument } from "../../../proto/errdefs.ts";
import type { ResponseOf } from "../../client/api.ts";
import type { Connection } from "../connect.ts";
import type { DiffFlags } from "../diff.ts";
import { shown, shownJson } from "../output/escape.ts";
import { colorsFor, note, print } from "../output/terminal.ts";
import { requestsOf } from "./files.ts";

const APPLICATIONS = "berth.v1.Applications";

/** What the daemon answers. */
export type AppDiff = Pick<ResponseOf<typeof APPLICATIONS, "Diff">, "name" | "changes" | "warnings">;

/** `berth diff FILE...`. @returns 1 when something would change */
export async function diffFiles(
  { api, namespace }: Connection,
  files: readonly string[],
  { name, format = "text" }: DiffFlags,
): Promise<number> {
  if (format !== "text" && format !== "json")
    throw invalidArgument(`--format ${JSON.stringify(format)}: it is text or json`);
  let hasChanges = false;
  for (const request of await requestsOf(files, name)) {
    const diff = await api.call(APPLICATIONS, "Diff", request, { namespace });
    for (const warning of diff.warnings) note(`${shown(warning)}\n`);
    hasChanges ||= diff.changes.some(({ action }) => action !== "keep");
    await print(format === "json" ? `${shownJson(itemOf(diff))}\n` : diffText(diff, colorsFor()));
  }
  return hasChanges ? 1 : 0;
}

function itemOf({ name, changes, warnings }: AppDiff): Record<string, unknown> {
  return {
    name,
    changes: changes.map(({ kind, id, action, service, keys }) => ({
      ...{ kind, id, action },
      ...(service ? { service } : {}),
      ...(keys?.length
        ? { keys: keys.map(({ key, before, after }) => ({ key, before: parsed(before), after: parsed(after) })) }
        : {}),
    })),
    warnings,
  };
}

function parsed(text: string | null | undefined): unknown {
  return text ? JSON.parse(text) : null;
}

type Colors = Pick<ReturnType<typeof colorsFor>, "green" | "red" | "yellow" | "dim">;

/** A line for each thing: `+` comes, `-` goes, `~` changes, with the keys below it. */
export function diffText({ name, changes }: AppDiff, colors: Colors): string {
  const lines: string[] = [];
  let kept = 0;
  for (const { kind, id, action, keys } of changes) {
    const what = `${kind} ${shown(id ?? "")}`;
    if (action === "keep") kept++;
    else if (action === "create") lines.push(colors.green(`+ ${what}`));
    else if (action === "remove") lines.push(colors.red(`- ${what}`));
    else if (action === "start") lines.push(colors.yellow(`~ ${what}: started, as it was stopped by hand`));
    else {
      lines.push(colors.yellow(`~ ${what}: ${action === "update" ? "changed while it runs" : "made anew"}`));
      for (const { key, before, after } of keys ?? []) {
        lines.push(`    ${shown(key ?? "")}: ${before ? shown(before) : "-"} -> ${after ? shown(after) : "-"}`);
      }
    }
  }
  const same = kept === 1 ? "1 container stays as it is" : `${kept} containers stay as they are`;
  const head = lines.length === 0 ? `${shown(name)}: nothing to do` : `${shown(name)}:`;
  return `${[head, ...lines.map((line) => `  ${line}`), ...(kept > 0 ? [colors.dim(`  ${same}`)] : [])].join("\n")}\n`;
}
