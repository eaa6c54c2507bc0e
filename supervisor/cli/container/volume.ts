/** What the verbs of volumes do. */

import { failedPrecondition, notFound } from "../../../proto/errdefs.ts";
import { placeOf } from "../../container/place.ts";
import { anonymousName, type Volume, Volumes } from "../../container/volumes.ts";
import type { Connection } from "../connect.ts";
import { ago } from "../output/age.ts";
import { shown, shownJson } from "../output/escape.ts";
import { type ListFlags, type Listing, printList } from "../output/list.ts";
import { isTerminal, print } from "../output/terminal.ts";
import { each } from "./each.ts";
import { pairOf } from "./parse.ts";
import { summaries } from "./summary.ts";

/** The volumes of a connection, and which containers have which. */
async function open({ api, namespace }: Connection): Promise<{ volumes: Volumes; users: Map<string, string[]> }> {
  const { root } = await placeOf(api);
  const users = new Map<string, string[]>();
  for (const { id, mounts } of await summaries(api, namespace)) {
    for (const { source } of mounts) users.set(source, [...(users.get(source) ?? []), id]);
  }
  return { volumes: new Volumes(root, namespace), users };
}

/** Lists volumes. */
export async function list(
  connection: Connection,
  flags: ListFlags & { readonly filter: readonly string[] },
): Promise<void> {
  const { volumes, users } = await open(connection);
  const filters = flags.filter.map((text) => pairOf("--filter", text));
  const found = volumes.list().filter((volume) =>
    filters.every(([key, value]) => {
      if (key === "name") return volume.name.includes(value);
      if (key === "dangling") return !users.has(volume.path) === (value !== "false");
      if (key !== "label") throw failedPrecondition(`--filter ${key}: there are name, label and dangling`);
      const [name, wanted] = pairOf("label", value);
      return Object.hasOwn(volume.labels, name) && (!value.includes("=") || volume.labels[name] === wanted);
    }),
  );
  await printList(found, listing(users), flags);
}

function listing(users: ReadonlyMap<string, readonly string[]>): Listing<Volume> {
  const of = ({ path }: Volume): string => (users.get(path) ?? []).join(",");
  return {
    columns: (full) => [
      { header: "VOLUME", cell: ({ name }) => shown(full || name.length < 64 ? name : name.slice(0, 12)), min: 12 },
      { header: "CREATED", cell: ({ createdAt }) => ago(createdAt), drop: 2 },
      { header: "CONTAINERS", cell: (volume) => shown(of(volume)), min: 10, drop: 1 },
    ],
    item: (volume) => ({
      Name: volume.name,
      Driver: "local",
      Scope: "local",
      Mountpoint: volume.path,
      CreatedAt: volume.createdAt.toISOString(),
      Anonymous: volume.isAnonymous,
      Containers: of(volume),
      Labels: volume.labels,
    }),
    id: ({ name }) => name,
  };
}

/** Makes a volume. */
export async function create(
  { api, namespace }: Connection,
  name: string | undefined,
  label: readonly string[],
): Promise<void> {
  const { root } = await placeOf(api);
  const labels = Object.fromEntries(label.map((text) => pairOf("--label", text)));
  const isAnonymous = name === undefined;
  const made = await new Volumes(root, namespace).create(name ?? anonymousName(), { labels, isAnonymous });
  await print(`${made.name}\n`);
}

/** Prints volumes as JSON. */
export async function inspect(connection: Connection, names: readonly string[]): Promise<void> {
  const { volumes, users } = await open(connection);
  const items = names.map((name) => {
    const volume = volumes.find(name);
    if (volume === undefined) throw notFound(`there is no volume ${name}: berth volume ls lists them`);
    return listing(users).item(volume);
  });
  await print(`${shownJson(items, 2)}\n`);
}

/** Removes volumes. @returns the exit status */
export async function remove(connection: Connection, names: readonly string[], force: boolean): Promise<number> {
  const { volumes, users } = await open(connection);
  return each(names, async (name) => {
    const volume = volumes.find(name);
    if (volume === undefined && force) return null;
    const [user] = users.get(volume?.path ?? "") ?? [];
    if (user !== undefined) throw failedPrecondition(`volume ${name} is used by container ${user}: remove that first`);
    volumes.remove(name);
    return name;
  });
}

/** Removes volumes that nobody has. @returns the exit status */
export async function prune(
  connection: Connection,
  flags: { readonly all?: boolean; readonly force?: boolean },
): Promise<number> {
  if (!flags.force) {
    const what = flags.all ? "all volumes that no container has" : "volumes without a name that no container has";
    if (!isTerminal(process.stdin)) throw failedPrecondition(`this removes ${what}: say so with --force`);
    process.stderr.write(`This removes ${what}. Go on? [y/N] `);
    for await (const line of console) {
      if (!/^y(es)?$/i.test(line.trim())) return 1;
      break;
    }
  }
  const { volumes, users } = await open(connection);
  const idle = volumes.list().filter(({ path, isAnonymous }) => !users.has(path) && (flags.all || isAnonymous));
  return each(
    idle.map(({ name }) => name),
    async (name) => volumes.remove(name),
  );
}
