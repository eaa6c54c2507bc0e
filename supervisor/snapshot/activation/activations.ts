/**
 * The mount manager (core/mount/manager): makes those mounts of a list that the system's own mount cannot make, and
 * remembers them under a name until they are deactivated. The rest is the client's to mount.
 *
 * Invariant: an activation is recorded before its first mount is made, in a directory of its own number; a record without
 * content is one that was never finished. So whatever is mounted after a crash has a record that says what to take away.
 */

import { mkdirSync, realpathSync } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import {
  alreadyExists,
  invalidArgument,
  messageOf,
  notFound,
  notImplemented,
  unknown,
} from "../../../proto/errdefs.ts";
import { mountsBelow } from "../../../shim/linux/index.ts";
import type { Log } from "../../log/log.ts";
import type { Database } from "../../store/database.ts";
import { fieldsOf, parseFilters } from "../../store/filter.ts";
import { checkLabels, type Labels } from "../../store/labels.ts";
import { quote } from "../../store/quote.ts";
import { nowMicros } from "../../store/time.ts";
import type { Holds } from "../service.ts";
import type { SnapshotMount } from "../snapshotter.ts";
import { makeMount, removeMounts } from "../tree/process.ts";
import { type Activation, activationOf, recordOf, type TimedMount } from "./record.ts";
import { type Transform, transformsOf } from "./transform.ts";

/** What the manager works with. */
export interface ActivationsParts {
  readonly database: Database;
  readonly leases: Holds;
  readonly namespaces: { require(namespace: string): void };
  /** Where mounts are made; of the state, since mounts do not survive a reboot. */
  readonly directory: string;
  /** Where transformations may make directories and files. */
  readonly roots: readonly string[];
  readonly log: Pick<Log, "warn">;
}

/** How mounts are activated. */
export interface ActivateOptions {
  readonly labels: Labels;
  /** Make every mount; what is left for the client is a bind mount of the last. */
  readonly temporary: boolean;
}

const LOOP = "loop";
/** Mounts in one list, at most. */
const MAX_MOUNTS = 255;

interface Row {
  readonly id: number;
  readonly namespace: string;
  readonly name: string;
  readonly record: Uint8Array;
  readonly lease: string;
}

/** The activations of all namespaces. */
export class Activations {
  readonly #parts: ActivationsParts;
  readonly #directory: string;
  /** Ids of those that are being made or taken away. */
  readonly #busy = new Set<number>();

  constructor(parts: ActivationsParts) {
    this.#parts = parts;
    mkdirSync(parts.directory, { recursive: true, mode: 0o700 });
    // As the kernel's table of mounts names it.
    this.#directory = realpathSync(parts.directory);
    parts.database.watch(({ deletedFrom }) => {
      if (deletedFrom.has("leases") || deletedFrom.has("namespaces")) queueMicrotask(() => this.#releaseUnheld());
    });
  }

  /**
   * Makes mounts, and gives those that the client has to make after them.
   * @throws ContainerdError Unimplemented when there is nothing to do but what the client can do itself; AlreadyExists
   */
  async activate(
    namespace: string,
    lease: string | undefined,
    name: string,
    mounts: readonly SnapshotMount[],
    { labels, temporary }: ActivateOptions,
  ): Promise<Activation> {
    const { database, leases, namespaces } = this.#parts;
    const plan = mounts.map((mount) => ({ mount, ...transformsOf(mount.type) }));
    const count = plan.reduce((most, { transforms, type }, index) => {
      if (type === LOOP || temporary) return index + 1;
      return transforms.length > 0 ? Math.max(most, index) : most;
    }, -1);
    // What is transformed and nothing else needs no mount here, but those before it do.
    if (count < 0) throw notImplemented("not implemented");
    if (name === "") throw unknown("bucket name required");
    if (mounts.length > MAX_MOUNTS) throw invalidArgument(`too many mounts (${mounts.length}): maximum ${MAX_MOUNTS}`);
    checkLabels(labels);
    let id = 0;
    const insert = (): void => {
      namespaces.require(namespace);
      if (this.#find(namespace, name) !== undefined) throw alreadyExists(`mount ${quote(name)}: already exists`);
      leases.hold(namespace, lease, { type: "mounts", id: name });
      database.run(
        "INSERT INTO mounts (namespace, name, record, lease) VALUES (?, ?, ?, ?)",
        namespace,
        name,
        new Uint8Array(0),
        lease ?? "",
      );
      id = this.#find(namespace, name)?.id ?? 0;
    };
    database.transaction(insert);
    this.#busy.add(id);
    try {
      await database.durable();
      const { made, system } = await this.#make(id, plan, count);
      const last = made.at(-1);
      if (temporary && last !== undefined) {
        system.push({ type: "bind", source: last.mountPoint, target: "", options: ["rbind"] });
      }
      const record = recordOf(name, labels, made, system);
      await database.commit(() => database.run("UPDATE mounts SET record = ? WHERE id = ?", record, id));
      return activationOf({ name, record });
    } catch (error) {
      await this.#remove({ id, namespace, name, lease: lease ?? "" }).catch((reason) =>
        this.#parts.log.warn("mounts of a failed activation are left for the next start", { name, error: reason }),
      );
      throw error;
    } finally {
      this.#busy.delete(id);
      // Its lease or its namespace may have gone meanwhile.
      queueMicrotask(() => this.#releaseUnheld());
    }
  }

  /** Takes the mounts of an activation away. @throws ContainerdError NotFound */
  async deactivate(namespace: string, name: string): Promise<void> {
    const row = this.#find(namespace, name);
    if (row === undefined || this.#busy.has(row.id)) {
      throw notFound(`missing mount ${quote(name)} bucket: not found`);
    }
    await this.#remove(row);
  }

  /** @throws ContainerdError NotFound */
  info(namespace: string, name: string): Activation {
    const row = this.#find(namespace, name);
    if (row === undefined) throw notFound(`mount ${quote(name)} not found`);
    return activationOf(row);
  }

  /** @throws ContainerdError Unimplemented, as in containerd */
  update(): never {
    throw notImplemented("not implemented");
  }

  /** All activations of a namespace. Filters know `name` and `labels`. */
  list(namespace: string, filters: readonly string[]): Activation[] {
    const filter = parseFilters(filters);
    return this.#parts.database
      .all<Row>("SELECT * FROM mounts WHERE namespace = ? ORDER BY name", namespace)
      .map(({ name }) => this.info(namespace, name))
      .filter(({ name, labels }) => filter(fieldsOf({ name }, labels)));
  }

  /**
   * Looks at what a crash or a reboot has left: an activation that is not finished, or whose mounts are gone, is taken
   * away, and so are mounts without a record.
   */
  async recover(): Promise<void> {
    const { database } = this.#parts;
    const directory = this.#directory;
    const mounted = new Set(mountsBelow(directory));
    const rows = database.all<Row>("SELECT * FROM mounts");
    for (const row of rows) {
      if (this.#busy.has(row.id)) continue;
      const { active } = activationOf(row);
      const isWhole = active.every(({ mount, mountPoint }) => mount?.type === LOOP || mounted.has(mountPoint ?? ""));
      if (row.record.length > 0 && isWhole && (await exists(this.#path(row.id)))) continue;
      await this.#remove(row);
    }
    const known = new Set(rows.map(({ id }) => String(id)));
    for (const name of await readdir(directory)) {
      if (known.has(name) || !/^\d+$/.test(name) || this.#busy.has(Number(name))) continue;
      if (database.get("SELECT 1 FROM mounts WHERE id = ?", Number(name)) === undefined)
        await this.#empty(Number(name));
    }
  }

  async #make(
    id: number,
    plan: readonly { mount: SnapshotMount; transforms: readonly Transform[]; type: string }[],
    count: number,
  ): Promise<{ made: TimedMount[]; system: SnapshotMount[] }> {
    await mkdir(this.#path(id), { mode: 0o700 });
    const made: TimedMount[] = [];
    const roots = [...this.#parts.roots, this.#directory];
    const transformed = async ({ mount, transforms, type }: (typeof plan)[number]): Promise<SnapshotMount> => {
      let result = mount;
      for (const transform of transforms) result = await transform(result, { made, roots });
      return { ...result, type };
    };
    for (const [index, step] of plan.slice(0, count).entries()) {
      const mount = await transformed(step);
      const mountPoint = `${this.#path(id)}/${index + 1}`;
      if (mount.type !== LOOP) await mkdir(mountPoint, { mode: 0o700 });
      try {
        await makeMount(mount, mountPoint);
      } catch (error) {
        throw unknown(`mount failed ${mount.type} ${mount.source}: ${messageOf(error)}`, error);
      }
      made.push({ ...mount, mountPoint, mountedAt: nowMicros() });
    }
    const system: SnapshotMount[] = [];
    for (const [index, step] of plan.slice(count).entries()) {
      // Only the first can depend on what is mounted here.
      system.push(index === 0 ? await transformed(step) : step.mount);
    }
    return { made, system };
  }

  /** The record first: what stays mounted after a crash in between has none, and is found by that. */
  async #remove({ id, namespace, name, lease }: Omit<Row, "record">): Promise<void> {
    const { database, leases } = this.#parts;
    this.#busy.add(id);
    try {
      await database.commit(() => {
        database.run("DELETE FROM mounts WHERE id = ?", id);
        leases.release(namespace, lease || undefined, { type: "mounts", id: name });
      });
      await this.#empty(id);
    } finally {
      this.#busy.delete(id);
    }
  }

  /** Unmounts everything in the directory of an activation, the last first, and removes it. */
  async #empty(id: number): Promise<void> {
    const names = await readdir(this.#path(id)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return [];
      throw error;
    });
    const points = names.map(Number).sort((a, b) => b - a);
    await removeMounts(points.map((point) => `${this.#path(id)}/${point}`));
    // Not recursive into what is mounted: there is nothing mounted any more, or this fails.
    for (const point of points)
      await rm(`${this.#path(id)}/${point}`, { force: true, recursive: false }).catch(() => undefined);
    const left = mountsBelow(this.#path(id));
    if (left.length > 0) throw unknown(`still mounted: ${left.join(", ")}`);
    await rm(this.#path(id), { recursive: true, force: true });
  }

  /** Takes away what a lease has held that is gone, or was in a namespace that is. */
  #releaseUnheld(): void {
    const { database, log } = this.#parts;
    const rows = database.all<Row>(
      `SELECT * FROM mounts m WHERE length(record) > 0 AND (lease != '' AND NOT EXISTS (
         SELECT 1 FROM lease_resources r WHERE r.namespace = m.namespace AND r.type = 'mounts' AND r.id = m.name)
         OR NOT EXISTS (SELECT 1 FROM namespaces n WHERE n.name = m.namespace))`,
    );
    for (const row of rows) {
      if (this.#busy.has(row.id)) continue;
      this.#remove(row).catch((error) => log.warn("cannot take mounts away", { name: row.name, error }));
    }
  }

  #path(id: number): string {
    return `${this.#directory}/${id}`;
  }

  #find(namespace: string, name: string): Row | undefined {
    return this.#parts.database.get<Row>("SELECT * FROM mounts WHERE namespace = ? AND name = ?", namespace, name);
  }
}

function exists(path: string): Promise<boolean> {
  return readdir(path).then(
    () => true,
    () => false,
  );
}
