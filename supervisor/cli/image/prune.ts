/** `berth prune`, `image prune`, `system prune`: says what goes, asks, and removes it. */

import { messageOf } from "../../../proto/errdefs.ts";
import { detailsOf, type ImageDetails, listImages, splitName } from "../../client/images.ts";
import { removeContainer } from "../../container/remove.ts";
import type { Connection } from "../connect.ts";
import { containersOf } from "../host/containers.ts";
import { parseMoment, shortDuration } from "../output/age.ts";
import { shown } from "../output/escape.ts";
import { decimalSize } from "../output/size.ts";
import { isTerminal, note, print } from "../output/terminal.ts";
import { createdOf, shortId } from "./list.ts";

/** Kinds of things that can be pruned. */
export type PruneKind = "containers" | "images" | "networks";

export interface PruneFlags {
  readonly all?: boolean;
  readonly force?: boolean;
  readonly filter?: readonly string[];
}

/** Something that nobody uses. */
interface Candidate {
  /** One line for a person. */
  readonly text: string;
  /** Bytes that it frees, as far as that is known. */
  readonly size: number;
  readonly remove: () => Promise<void>;
}

interface Filter {
  readonly before: Date | undefined;
  readonly labels: readonly (readonly [string, string | undefined])[];
}

/** @throws Error for a filter that is none */
function filterOf(flags: PruneFlags): Filter {
  let before: Date | undefined;
  const labels: [string, string | undefined][] = [];
  for (const filter of flags.filter ?? []) {
    const [, key, value = ""] = /^(\w+)=(.*)$/s.exec(filter) ?? [];
    if (key === "until") before = parseMoment(value);
    if (key === "label") {
      const [, name = value, , wanted] = /^([^=]*)(=(.*))?$/s.exec(value) ?? [];
      labels.push([name, wanted]);
    }
    if ((key !== "until" && key !== "label") || (key === "until" && before === undefined)) {
      throw new Error(`--filter ${filter}: it is until=TIME (10h, or a date) or label=NAME[=VALUE]`);
    }
  }
  return { before, labels };
}

function passes({ before, labels }: Filter, made: Date, mine: Readonly<Record<string, string>>): boolean {
  if (before !== undefined && made.getTime() >= before.getTime()) return false;
  return labels.every(([name, wanted]) => Object.hasOwn(mine, name) && (wanted === undefined || mine[name] === wanted));
}

/** Prunes. @returns the exit status */
export async function prune(connection: Connection, flags: PruneFlags, kinds: readonly PruneKind[]): Promise<number> {
  const filter = filterOf(flags);
  const found: Candidate[] = [];
  const gone = new Set<string>();
  if (kinds.includes("containers")) found.push(...(await stoppedContainers(connection, filter, gone)));
  if (kinds.includes("images")) found.push(...(await unusedImages(connection, filter, flags.all ?? false, gone)));
  if (kinds.includes("networks")) found.push(...(await unusedNetworks(connection)));
  if (found.length === 0) {
    await print(
      `nothing to remove${flags.all || !kinds.includes("images") ? "" : ": with -a also images that no container uses"}\n`,
    );
    return 0;
  }
  if (!flags.force) {
    note(`This removes\n${found.map(({ text }) => `  ${text}\n`).join("")}`);
    if (!isTerminal(process.stdin))
      throw new Error("nothing was removed, since there is no terminal to ask on: -f removes without asking");
    if (!(await confirm("Remove it? [y/N] "))) return 1;
  }
  let status = 0;
  let freed = 0;
  for (const { text, size, remove } of found) {
    try {
      await remove();
      freed += size;
      await print(`removed ${text}\n`);
    } catch (error) {
      status = 1;
      note(`berth prune: ${text}: ${messageOf(error)}\n`);
    }
  }
  await print(`Total reclaimed space: ${decimalSize(freed)}\n`);
  return status;
}

async function confirm(question: string): Promise<boolean> {
  note(question);
  for await (const line of console) return /^y(es)?$/i.test(line.trim());
  return false;
}

/** Containers that have ended and that nobody starts again. */
async function stoppedContainers(
  { api, namespace }: Connection,
  filter: Filter,
  gone: Set<string>,
): Promise<Candidate[]> {
  const containers = await containersOf(api, namespace);
  const stopped = containers.filter(
    ({ isStopped, isKept, createdAt, labels }) => isStopped && !isKept && passes(filter, createdAt, labels),
  );
  return stopped.map(({ id, image, createdAt }) => {
    gone.add(id);
    return {
      text: `container ${shown(id)} (${shown(image)}, made ${shortDuration(Date.now() - createdAt.getTime())} ago)`,
      size: 0,
      remove: () => removeContainer(api, namespace, id),
    };
  });
}

/** Images that no container was made of; without `all` only those without a tag. Pinned ones stay. */
async function unusedImages(
  { api, namespace }: Connection,
  filter: Filter,
  all: boolean,
  gone: ReadonlySet<string>,
): Promise<Candidate[]> {
  const containers = (await containersOf(api, namespace)).filter(({ id }) => !gone.has(id));
  const used = new Set(containers.map(({ image }) => image));
  const images = await detailsOf(api, namespace, await listImages(api, namespace));
  // Another name of an image that is used or kept frees nothing, but goes all the same when nobody uses that name.
  const going = images.filter((image) => {
    if (image.isPinned || used.has(image.name)) return false;
    return (all || splitName(image.name).tag === "<none>") && passes(filter, createdOf(image), image.labels);
  });
  const staying = images.filter((image) => !going.includes(image));
  return going.map((image) => ({
    text: `image ${shown(image.name)} (${shown(shortId(image.target.digest))}, ${decimalSize(freedBy(image, staying))})`,
    size: freedBy(image, staying),
    remove: async () => {
      await api.call("containerd.services.images.v1.Images", "Delete", { name: image.name, sync: true }, { namespace });
    },
  }));
}

/** Bytes of blobs that no other image needs. */
export function freedBy(image: ImageDetails, staying: readonly ImageDetails[]): number {
  let freed = 0;
  for (const [digest, size] of image.blobs) if (!staying.some(({ blobs }) => blobs.has(digest))) freed += size;
  return freed;
}

/** Networks that berth made and no container is made with. The default one, and those of applications, stay. */
async function unusedNetworks({ api }: Connection): Promise<Candidate[]> {
  const { pathsOf, usersOf } = await import("../network/users.ts");
  const [{ listNetworks }, { removeNetwork }] = await Promise.all([
    import("../../network/inspect.ts"),
    import("../../network/remove.ts"),
  ]);
  const [paths, users] = await Promise.all([pathsOf(api), usersOf(api)]);
  const unused = listNetworks(paths).networks.filter(
    ({ name, isOurs, members, labels }) =>
      isOurs && name !== paths.defaultNetwork && members.length === 0 && !users.has(name) && !labels["berth/app"],
  );
  return unused.map(({ name, subnets }) => ({
    text: `network ${shown(name)} (${subnets.join(" ")})`,
    size: 0,
    remove: () => removeNetwork(paths, name),
  }));
}
