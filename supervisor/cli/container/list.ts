/** What `ps` does. */

import { invalidArgument } from "../../../proto/errdefs.ts";
import type { Api } from "../../client/api.ts";
import { tryFullName } from "../../client/images.ts";
import { ago } from "../output/age.ts";
import { shown } from "../output/escape.ts";
import { type ListFlags, type Listing, printList } from "../output/list.ts";
import { integerOf } from "./parse.ts";
import { portsText, type Summary, statusText, summaries } from "./summary.ts";

/** What the flags say. */
export interface PsFlags extends ListFlags {
  readonly all?: boolean;
  readonly latest?: boolean;
  readonly last?: string;
  readonly filter: readonly string[];
}

const MAX_COMMAND = 20;

/** Lists containers. @throws ContainerdError InvalidArgument for a wrong filter; CallError */
export async function list(api: Api, namespace: string, flags: PsFlags): Promise<void> {
  const filters = flags.filter.map(filterOf);
  const last = flags.latest ? 1 : flags.last === undefined ? undefined : integerOf("--last", flags.last, 1);
  const named = flags.filter.some((text) => /^(status|exited)=/.test(text));
  const all = (flags.all ?? false) || last !== undefined || named;
  const found = (await summaries(api, namespace)).filter((container) => {
    const runs = ["running", "paused", "restarting"].includes(container.state);
    return (all || runs) && filters.every((fits) => fits(container));
  });
  await printList(found.slice(0, last), listing(), flags);
}

function listing(now = new Date()): Listing<Summary> {
  const command = ({ args }: Summary, full: boolean): string => {
    const text = shown(args.join(" "));
    return full || text.length <= MAX_COMMAND ? text : `${text.slice(0, MAX_COMMAND - 1)}…`;
  };
  return {
    columns: (full) => [
      { header: "NAME", cell: ({ id }) => shown(id), min: 12 },
      { header: "IMAGE", cell: ({ image }) => shown(full ? image : shortImage(image)), min: 12 },
      { header: "COMMAND", cell: (row) => command(row, full), min: 8, drop: 3 },
      { header: "CREATED", cell: ({ createdAt }) => ago(createdAt, now), drop: 2 },
      { header: "STATUS", cell: (row) => statusText(row, now), min: 12 },
      { header: "PORTS", cell: ({ ports }) => shown(portsText(ports)), min: 8, drop: 1 },
    ],
    item: (row) => ({
      ID: row.id,
      Names: row.id,
      Image: row.image,
      Command: row.args.join(" "),
      CreatedAt: row.createdAt?.toISOString() ?? "",
      RunningFor: ago(row.createdAt, now),
      State: row.state,
      Status: statusText(row, now),
      Health: row.health,
      ExitCode: row.exitStatus ?? null,
      Pid: row.pid,
      Ports: portsText(row.ports),
      Networks: row.networks.join(","),
      Mounts: row.mounts.map(({ destination }) => destination).join(","),
      Labels: row.labels,
    }),
    id: ({ id }) => id,
  };
}

/** `docker.io/library/alpine:latest` is `alpine:latest` to people. */
function shortImage(image: string): string {
  return image.replace(/^docker\.io\/(library\/)?/, "").replace(/(@sha256:[0-9a-f]{12})[0-9a-f]+$/, "$1");
}

type Filter = (container: Summary) => boolean;

function filterOf(text: string): Filter {
  const equals = text.indexOf("=");
  const [key, value] = [text.slice(0, equals), text.slice(equals + 1)];
  const make = equals > 0 ? filters[key] : undefined;
  if (make === undefined) {
    throw invalidArgument(
      `--filter ${JSON.stringify(text)}: write it as NAME=VALUE, with ${Object.keys(filters).join(", ")}`,
    );
  }
  return make(value);
}

const filters: Readonly<Record<string, (value: string) => Filter>> = {
  name:
    (value) =>
    ({ id }) =>
      id.includes(value),
  id:
    (value) =>
    ({ id }) =>
      id.startsWith(value),
  status:
    (value) =>
    ({ state }) =>
      state === value,
  label: (value) => {
    const equals = value.indexOf("=");
    const [name, wanted] = equals < 0 ? [value, undefined] : [value.slice(0, equals), value.slice(equals + 1)];
    return ({ labels }) => Object.hasOwn(labels, name) && (wanted === undefined || labels[name] === wanted);
  },
  ancestor: (value) => {
    const full = tryFullName(value);
    return ({ image }) => image === value || image === full;
  },
  health:
    (value) =>
    ({ health }) =>
      (health || "none") === value,
  network:
    (value) =>
    ({ networks }) =>
      networks.includes(value),
  volume:
    (value) =>
    ({ mounts }) =>
      mounts.some(
        ({ source, destination }) => destination === value || source === value || source.endsWith(`/${value}/_data`),
      ),
  exited:
    (value) =>
    ({ state, exitStatus }) =>
      state === "exited" && String(exitStatus) === value,
};
