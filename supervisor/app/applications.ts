/**
 * The applications of one daemon: which revision each is at, and the way from one to the next.
 *
 * Invariants: one change at a time for each application. What is being brought about is on record before anything is
 * touched, so that a power cut finds it and {@link Applications.resume} finishes it or takes it back. A revision becomes
 * the good one when everything in it was well, and the good one before is kept with its images.
 */

import { failedPrecondition, messageOf, notFound } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Log } from "../log/log.ts";
import { hashOf } from "./canonical.ts";
import { type Desired, desiredOf } from "./desired.ts";
import { type Engine, type Tell, UnwellError } from "./engine.ts";
import type { Machine } from "./machine.ts";
import type { Plan } from "./plan.ts";
import { Queue } from "./queue.ts";
import type { AppState, AppStore, Revision } from "./state.ts";
import type { Version } from "./version.ts";

/** How a change is made. */
export interface How {
  /** In place of what health checks need; 0: what they need. */
  readonly timeoutMs?: number;
  /** Stay with a version that is not well. */
  readonly noRollback?: boolean;
  readonly tell?: Tell;
}

/** What applications are made with. */
export interface ApplicationsOptions {
  readonly machine: Machine;
  readonly store: AppStore;
  readonly engine: Engine;
  readonly log: Log;
}

/** What has happened since the daemon began. */
export interface Counts {
  readonly applied: number;
  readonly failed: number;
  readonly rolledBack: number;
}

const nothing: Tell = () => {};

/** All applications. */
export class Applications {
  readonly #machine: Machine;
  readonly #store: AppStore;
  readonly #engine: Engine;
  readonly #log: Log;
  readonly #states: Map<string, AppState>;
  readonly #queue = new Queue();
  readonly #controller = new AbortController();
  readonly #counts = { applied: 0, failed: 0, rolledBack: 0 };

  constructor({ machine, store, engine, log }: ApplicationsOptions) {
    this.#machine = machine;
    this.#store = store;
    this.#engine = engine;
    this.#log = log;
    const problem = (what: string): void => log.error(`an application cannot be read: ${what}`);
    this.#states = new Map(store.all(problem).map((state) => [state.name, state]));
  }

  /** Every application's state, by name. */
  get states(): AppState[] {
    return [...this.#states.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** @throws ContainerdError NotFound */
  state(name: string): AppState {
    const state = this.#states.get(name);
    if (state === undefined)
      throw notFound(`there is no application ${JSON.stringify(name)}: berth apps ls lists them`);
    return state;
  }

  get counts(): Counts {
    return this.#counts;
  }

  /** True while an application is being changed. */
  isBusy(name: string): boolean {
    return this.#queue.isBusy(name);
  }

  /** What a version would change. @throws ContainerdError */
  async diff(namespace: string, version: Version): Promise<{ desired: Desired; plan: Plan }> {
    const desired = desiredOf(version.application, await this.#engine.localDigests(namespace, version.application));
    return { desired, plan: await this.#engine.plan(namespace, desired) };
  }

  /**
   * Brings an application to a version.
   * @param origin the watched file that it is of
   * @throws ContainerdError when it is not there in the end: Unavailable and others when its images are not to be had,
   * and nothing was touched; UnwellError when it was taken back, or stays though it is not well
   */
  apply(namespace: string, version: Version, origin: string | undefined, how: How = {}): Promise<AppState> {
    const { name } = version.application;
    return this.#queue.run(name, () => this.#apply(namespace, version, origin, how));
  }

  /** Brings an application to an earlier revision. @param number 0: the last good one that it is not at @throws ContainerdError */
  rollback(name: string, number: number, how: How = {}): Promise<AppState> {
    return this.#queue.run(name, async () => {
      const state = this.state(name);
      const before = [state.good, state.previous].find((one) => one !== undefined && one !== state.current);
      const wanted = number === 0 ? before : number;
      if (wanted === undefined) throw failedPrecondition(`application ${name} has no earlier good revision`);
      const revision = this.#store.revision(name, wanted);
      if (revision === undefined) {
        const kept = this.#store.revisions(name).join(", ");
        throw notFound(`application ${name} has no revision ${wanted}: ${kept} are kept`);
      }
      const { tell = nothing } = how;
      const { signal } = this.#controller;
      await this.#engine.images(state.namespace, revision.application, revision.digests, { tell, signal });
      const reason = `by hand, from revision ${state.current ?? "none"}`;
      return this.#bring(this.#write({ ...state, target: wanted, purpose: "rollback", reason }), revision, how);
    });
  }

  /** Removes an application with its containers and networks. @throws ContainerdError */
  remove(name: string, removesVolumes: boolean, how: How = {}): Promise<void> {
    return this.#queue.run(name, () => {
      const { target: _, ...state } = this.state(name);
      return this.#remove(this.#write({ ...state, purpose: "remove", removesVolumes }), how);
    });
  }

  /** The file of an application has another name now. */
  adopt(name: string, origin: string): void {
    const state = this.#states.get(name);
    if (state !== undefined && state.origin !== origin) this.#write({ ...state, origin });
  }

  /** Finishes what a power cut has interrupted. Resolves when all of it is begun. */
  resume(): void {
    for (const { name, purpose, target } of this.states) {
      if (purpose === undefined) continue;
      void this.#queue
        .run(name, async () => {
          const state = this.state(name);
          this.#log.warn("an application's change was interrupted: it is finished now", { app: name, purpose });
          if (purpose === "remove") return this.#remove(state, {});
          const revision = this.#store.revision(name, target);
          if (revision === undefined) throw new Error(`revision ${target} is not there`);
          const { signal } = this.#controller;
          try {
            const { namespace } = state;
            await this.#engine.images(namespace, revision.application, revision.digests, { tell: nothing, signal });
          } catch (error) {
            if (signal.aborted) throw error;
            return this.#failed(state, revision, messageOf(error), { tell: nothing, timeoutMs: 0, noRollback: false });
          }
          return this.#bring(state, revision, {});
        })
        .catch((error: unknown) => this.#log.error(`application ${name}: ${messageOf(error)}`));
    }
  }

  /** Ends: what is being brought about is left where it is, for the next daemon. */
  async stop(): Promise<void> {
    this.#controller.abort();
    await this.#queue.idle(3000);
  }

  async #apply(namespace: string, version: Version, origin: string | undefined, how: How): Promise<AppState> {
    const { application, source, text, file } = version;
    const { name } = application;
    const { tell = nothing } = how;
    const { signal } = this.#controller;
    const before = this.#states.get(name) ?? { name, namespace, next: 1, bad: [], ...(origin ? { origin } : {}) };
    checkOwner(before, namespace, origin);
    // Nothing is touched until all images are here.
    const digests = await this.#engine.images(namespace, application, undefined, { tell, signal });
    const hash = hashOf({ application, digests });
    const current = this.#store.revision(name, before.current);
    let revision = current;
    if (current?.hash !== hash) {
      revision = { number: before.next, hash, source, text, file, application, digests, createdAt: Date.now() };
      // The directory is made by the state.
      if (!this.#states.has(name)) this.#write(before);
      this.#store.addRevision(name, revision);
    }
    if (revision === undefined) throw new Error("unreachable");
    const next = Math.max(before.next, revision.number + 1);
    const { reason: _, ...rest } = before;
    const state = this.#write({
      ...{ ...rest, next, target: revision.number, purpose: "apply" as const },
      ...(origin === undefined ? {} : { seen: source }),
    });
    return this.#bring(state, revision, how);
  }

  /** Brings the target of a state about, or the good revision when that cannot be. */
  async #bring(state: AppState, revision: Revision, how: How): Promise<AppState> {
    const { namespace } = state;
    const { tell = nothing, timeoutMs = 0, noRollback = false } = how;
    const { signal } = this.#controller;
    await this.#keepImages(namespace);
    tell({ step: "begin", id: state.name, message: `revision ${revision.number}` });
    this.#tell(state, revision.number, "applying", "");
    try {
      const isKnown = state.good === revision.number;
      await this.#engine.bring(namespace, revision, { timeoutMs, isKnown, tell, signal });
    } catch (error) {
      if (signal.aborted) throw error;
      return this.#failed(state, revision, messageOf(error), { tell, timeoutMs, noRollback });
    }
    const { target: _, purpose, reason, good, ...rest } = state;
    const isBack = purpose === "rollback";
    const previous = good === revision.number ? state.previous : good;
    const bad = state.bad.filter((one) => one.revision !== revision.number);
    const done = this.#write({
      ...{ ...rest, bad, current: revision.number, good: revision.number, appliedAt: Date.now() },
      ...(previous === undefined ? {} : { previous }),
      ...(isBack && reason !== undefined ? { result: "rolled-back" as const, reason } : { result: "applied" as const }),
    });
    if (isBack) this.#counts.rolledBack++;
    else this.#counts.applied++;
    await this.#tidy(done);
    this.#tell(done, revision.number, isBack ? "rolled-back" : "applied", reason ?? "");
    return done;
  }

  async #failed(state: AppState, revision: Revision, why: string, how: Required<How>): Promise<AppState> {
    const { name, namespace, good } = state;
    const { tell, noRollback } = how;
    const reason = `revision ${revision.number}: ${why}`;
    tell({ step: "failed", message: why });
    this.#counts.failed++;
    const others = state.bad.filter((one) => one.revision !== revision.number);
    // What was well once is not to blame for what is wrong now.
    const isNew = revision.number !== good;
    const bad = isNew ? [...others, { revision: revision.number, source: revision.source, reason: why }] : others;
    const back = good === revision.number || noRollback ? undefined : this.#store.revision(name, good);
    if (back === undefined) {
      const { target: _, purpose: __, ...rest } = state;
      const left = this.#write({
        ...rest,
        bad,
        current: revision.number,
        result: "failed",
        reason,
        appliedAt: Date.now(),
      });
      this.#tell(left, revision.number, "failed", why);
      throw new UnwellError(`application ${name} is not well: ${reason}`);
    }
    tell({ step: "rollback", message: `to revision ${back.number}` });
    this.#tell(state, revision.number, "failed", why);
    const returning = this.#write({ ...state, bad, target: back.number, purpose: "rollback", reason });
    try {
      const { signal } = this.#controller;
      await this.#engine.images(namespace, back.application, back.digests, { tell, signal });
      await this.#bring(returning, back, { ...how, noRollback: true });
    } catch (error) {
      if (this.#controller.signal.aborted) throw error;
      const now = this.#states.get(name) ?? returning;
      const { target: _, purpose: __, ...rest } = now;
      const both = `${reason}; and going back to revision ${back.number} failed: ${messageOf(error)}`;
      this.#write({ ...rest, current: back.number, result: "failed", reason: both, appliedAt: Date.now() });
      throw new UnwellError(`application ${name} is not well: ${both}`);
    }
    throw new UnwellError(`application ${name} is back at revision ${back.number}: ${reason}`);
  }

  async #remove(state: AppState, { tell = nothing }: How): Promise<void> {
    const { name, namespace, removesVolumes = false } = state;
    const { signal } = this.#controller;
    await this.#engine.remove(namespace, name, { tell, signal });
    if (removesVolumes) {
      for (const volume of this.#volumesOf(state)) {
        tell({ step: "remove", id: volume, message: "volume" });
        await this.#machine.removeVolume(namespace, volume);
      }
    }
    this.#store.remove(name);
    this.#states.delete(name);
    await this.#keepImages(namespace);
    this.#tell(state, state.current ?? 0, "removed", "");
  }

  /** Volumes of all revisions that are kept: each may have had others. */
  #volumesOf({ name }: AppState): Set<string> {
    const volumes = new Set<string>();
    for (const number of this.#store.revisions(name)) {
      const revision = this.#store.revision(name, number);
      if (revision === undefined) continue;
      const { application } = revision;
      for (const volume of Object.values(application.volumes)) if (!volume.isExternal) volumes.add(volume.name);
      const external = new Set(Object.values(application.volumes).map((volume) => volume.name));
      for (const { options } of desiredOf(application, {}).containers) {
        for (const mount of options.mounts ?? []) {
          if (mount.type === "volume" && mount.source !== undefined && !external.has(mount.source))
            volumes.add(mount.source);
        }
      }
    }
    return volumes;
  }

  /** Images of the revisions that an application is at, may go back to, and is on the way to. */
  async #keepImages(namespace: string): Promise<void> {
    const wanted = new Map<string, { image: string; digest: string }>();
    for (const state of this.#states.values()) {
      if (state.namespace !== namespace) continue;
      for (const number of new Set([state.current, state.good, state.previous, state.target])) {
        const digests = this.#store.revision(state.name, number)?.digests ?? {};
        for (const [image, digest] of Object.entries(digests)) wanted.set(`${image} ${digest}`, { image, digest });
      }
    }
    try {
      await this.#machine.keepImages(namespace, [...wanted.values()]);
    } catch (error) {
      this.#log.warn(`images of applications cannot be kept: ${messageOf(error)}`, { namespace });
    }
  }

  async #tidy(state: AppState): Promise<void> {
    try {
      const containers = await this.#machine.containers(state.namespace, state.name);
      this.#store.tidy(state, new Set(containers.map(({ labels }) => labels["berth/app.hash"] ?? "")));
    } catch (error) {
      this.#log.warn(`old revisions cannot be removed: ${messageOf(error)}`, { app: state.name });
    }
    await this.#keepImages(state.namespace);
  }

  #write(state: AppState): AppState {
    this.#store.write(state);
    this.#states.set(state.name, state);
    return state;
  }

  #tell({ name, namespace }: AppState, revision: number, what: string, reason: string): void {
    const fields = { app: name, revision, ...(reason === "" ? {} : { reason }) };
    if (what === "failed") this.#log.error("application failed", fields);
    else this.#log.info(`application ${what}`, fields);
    this.#machine.publish(namespace, { name, revision, what, reason });
  }
}

/** @throws ContainerdError FailedPrecondition when an application is somebody else's */
function checkOwner(state: AppState, namespace: string, origin: string | undefined): void {
  const { name } = state;
  if (state.namespace !== namespace) {
    throw failedPrecondition(`application ${name} is in namespace ${state.namespace}: give this one another name`);
  }
  if (state.origin === origin) return;
  if (state.origin === undefined) {
    throw failedPrecondition(
      `application ${name} was made by berth apply: remove it (berth apps rm ${name}), or give this one another name`,
    );
  }
  throw failedPrecondition(
    `application ${name} is what ${state.origin} says: change that file, or give this one another name`,
  );
}

/** True for a failure that says nothing about the version: it may be tried again. */
export function isPassing(error: unknown): boolean {
  if (error instanceof UnwellError) return false;
  const code = (error as { code?: unknown } | undefined)?.code;
  const final: readonly unknown[] = [
    Code.InvalidArgument,
    Code.FailedPrecondition,
    Code.AlreadyExists,
    Code.Unauthenticated,
    Code.PermissionDenied,
  ];
  return !final.includes(code);
}
