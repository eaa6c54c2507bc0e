/** `berth events`. */

import { invalidArgument } from "../../../proto/errdefs.ts";
import type { Connection } from "../connect.ts";
import { parseMoment } from "../output/age.ts";
import { shownJson } from "../output/escape.ts";
import { interruptible } from "../output/interrupt.ts";
import { fill } from "../output/list.ts";
import { print } from "../output/terminal.ts";
import { type EventView, eventOf, itemOf, wordsOf } from "./eventline.ts";

export interface EventsFlags {
  readonly filter?: readonly string[];
  readonly format?: string;
  readonly until?: string;
  readonly allNamespaces?: boolean;
}

/** Keys of filters with what they look at. */
const keys: Readonly<Record<string, (event: EventView) => string>> = {
  type: ({ type }) => type,
  event: ({ action }) => action,
  container: (event) => (event.type === "container" || event.topic === "/berth/health" ? event.subject : ""),
  image: (event) => (event.type === "image" ? event.subject : String(event.fields["image"] ?? "")),
  topic: ({ topic }) => topic,
};

/** Says whether an event is wanted: several values of one key are alternatives, keys must all fit. @throws ContainerdError */
export function filterOf(filters: readonly string[]): (event: EventView) => boolean {
  const wanted = new Map<string, string[]>();
  for (const filter of filters) {
    const [, key = "", value = ""] = /^(\w+)=(.*)$/s.exec(filter) ?? [];
    if (!Object.hasOwn(keys, key))
      throw invalidArgument(`--filter ${filter}: it is one of ${Object.keys(keys).join("=, ")}=`);
    wanted.set(key, [...(wanted.get(key) ?? []), value]);
  }
  return (event) => [...wanted].every(([key, values]) => values.includes(keys[key]?.(event) ?? ""));
}

/** Prints events until the user leaves. @throws ContainerdError */
export async function events({ api, namespace }: Connection, flags: EventsFlags): Promise<void> {
  const passes = filterOf(flags.filter ?? []);
  const until = flags.until === undefined ? undefined : parseMoment(flags.until);
  if (flags.until !== undefined && until === undefined) throw invalidArgument(`--until ${flags.until}: it is no time`);
  const format = flags.format ?? "";
  if (format !== "" && format !== "json" && !format.includes("{{")) {
    throw invalidArgument(`--format ${format}: it is json, or a template such as '{{.Type}} {{.Action}} {{.ID}}'`);
  }
  const lineOf = (event: EventView): string => {
    if (format === "json" || format === "{{json .}}") return shownJson(itemOf(event));
    if (format !== "") return fill(format, itemOf(event));
    return `${event.at.toISOString()} ${flags.allNamespaces ? `${event.namespace} ` : ""}${wordsOf(event)}`;
  };
  await interruptible(async (signal) => {
    const late =
      until === undefined
        ? signal
        : AbortSignal.any([signal, AbortSignal.timeout(Math.max(0, until.getTime() - Date.now()))]);
    const stream = api.stream("containerd.services.events.v1.Events", "Subscribe", { filters: [] }, { signal: late });
    for await (const envelope of stream) {
      if (!flags.allNamespaces && envelope.namespace !== namespace) continue;
      const event = eventOf(envelope);
      if (passes(event)) await print(`${lineOf(event)}\n`);
    }
  });
}
