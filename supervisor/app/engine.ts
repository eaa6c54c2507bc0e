/** Brings the machine to a revision: images first, then step by step, and sees whether what is new is well. */

import { ContainerdError, failedPrecondition, messageOf } from "../../proto/errdefs.ts";
import { Code } from "../../proto/ttrpc/status.ts";
import type { HealthConfig } from "../container/health.ts";
import { labels as names } from "../container/labels.ts";
import type { RunOptions } from "../container/options.ts";
import { type Desired, type DesiredContainer, desiredOf } from "./desired.ts";
import { Judge, type JudgeSettings } from "./judge.ts";
import type { Machine, MachineContainer, PullTell } from "./machine.ts";
import type { Application } from "./model.ts";
import { type Found, type FoundContainer, type Plan, planOf, type Step } from "./plan.ts";
import { SignLog } from "./signs.ts";
import type { AppStore, Revision } from "./state.ts";

/** The status of a process that SIGKILL has ended, and of one whose shim is gone (PR-4). */
const KILLED = 137;

/** One thing that happened on the way. */
export interface Progress {
  readonly step:
    | "plan"
    | "pull"
    | "begin"
    | "network"
    | "create"
    | "recreate"
    | "update"
    | "start"
    | "remove"
    | "healthy"
    | "failed"
    | "rollback"
    | "done";
  readonly id?: string;
  readonly message?: string;
  /** Bytes of a blob that is pulled, and its name. */
  readonly done?: number;
  readonly total?: number;
  readonly blob?: string;
}

export type Tell = (progress: Progress) => void;

/** How long what takes, in milliseconds. */
export interface EngineSettings extends JudgeSettings {
  /** Added to what a health check needs until it has decided. */
  readonly marginMs: number;
  /** A service that others wait to be over has so long. */
  readonly completionMs: number;
}

/** How a revision is brought about. */
export interface BringOptions {
  /** In place of what the health check needs; 0: what it needs. */
  readonly timeoutMs: number;
  /** The revision was well before: what is there of it already is not looked at. */
  readonly isKnown: boolean;
  readonly tell: Tell;
  readonly signal: AbortSignal;
}

/** A version that is not well: the reason is for people. */
export class UnwellError extends ContainerdError {
  constructor(reason: string) {
    super(Code.FailedPrecondition, reason);
  }
}

/** While a container has not started, it is asked so often why not. */
const TROUBLE_MS = 1000;
/** Looks at the same trouble, one after another, that make a failure. */
const MAX_TROUBLE = 4;

/** What brings revisions about. */
export class Engine {
  readonly #machine: Machine;
  readonly #store: AppStore;
  readonly #settings: EngineSettings;

  constructor(machine: Machine, store: AppStore, settings: EngineSettings) {
    this.#machine = machine;
    this.#store = store;
    this.#settings = settings;
  }

  /** What would be done. @throws ContainerdError */
  async plan(namespace: string, desired: Desired): Promise<Plan> {
    return planOf(desired, await this.#found(namespace, desired));
  }

  /** The digests of an application's images as far as they are here. */
  async localDigests(namespace: string, application: Application): Promise<Record<string, string>> {
    const digests: Record<string, string> = {};
    for (const { options } of application.services) {
      const digest = await this.#machine.digest(namespace, options.image);
      if (digest !== undefined) digests[options.image] = digest;
    }
    return digests;
  }

  /**
   * Fetches the images of an application; nothing else is touched.
   * @param known digests that they must have; undefined for those that their names have now
   * @throws ContainerdError
   */
  async images(
    namespace: string,
    { services }: Application,
    known: Readonly<Record<string, string>> | undefined,
    { tell, signal }: Pick<BringOptions, "tell" | "signal">,
  ): Promise<Record<string, string>> {
    const digests: Record<string, string> = {};
    for (const { options, name } of services) {
      const { image, platform } = options;
      if (Object.hasOwn(digests, image)) continue;
      signal.throwIfAborted();
      const wanted = known !== undefined && Object.hasOwn(known, image) ? known[image] : undefined;
      const request = {
        image,
        ...(platform === undefined ? {} : { platform }),
        ...(options.pull === undefined || known !== undefined ? {} : { pull: options.pull }),
      };
      const step: PullTell = ({ event, name: blob, progress: done, total }) =>
        tell({ step: "pull", id: image, message: event, blob, done, total });
      try {
        digests[image] = await this.#machine.ensureImage(namespace, request, wanted, step, signal);
      } catch (error) {
        throw new ContainerdError(codeOf(error), `image ${image} of service ${name}: ${messageOf(error)}`, {
          cause: error,
        });
      }
    }
    return digests;
  }

  /**
   * Makes the machine what a revision says; its images are here.
   * @throws UnwellError when what is new is not well; ContainerdError when a step fails
   */
  async bring(namespace: string, revision: Revision, options: BringOptions): Promise<void> {
    const { signal, tell } = options;
    const desired = desiredOf(revision.application, revision.digests);
    const plan = await this.plan(namespace, desired);
    if (plan.obstacles.length > 0) throw failedPrecondition(plan.obstacles.join("; "));
    const log = new SignLog();
    const following = new AbortController();
    const stop = (): void => following.abort();
    signal.addEventListener("abort", stop, { once: true });
    log.follow(this.#machine.signs(namespace, following.signal));
    try {
      const later: Watched[] = [];
      // Made for this revision before a power cut, and nobody has seen whether they are well.
      for (const container of options.isKnown ? [] : plan.kept) {
        const watched = await this.#made(namespace, revision, desired, container, log, options);
        if (watched?.isTelling) await this.#settle(namespace, [watched], log, options);
        else if (watched !== undefined) later.push(watched);
      }
      for (const step of plan.steps) {
        signal.throwIfAborted();
        const watched = await this.#perform(namespace, revision, desired, step, log, options);
        if (watched === undefined) continue;
        // One after another where it is known soon: what fails leaves the others as they are.
        if (watched.isTelling) await this.#settle(namespace, [watched], log, options);
        else later.push(watched);
      }
      await this.#settle(namespace, later, log, options);
    } finally {
      signal.removeEventListener("abort", stop);
      following.abort();
    }
    tell({ step: "plan", message: summary(plan) });
  }

  /** Removes everything of an application but its volumes. @throws ContainerdError */
  async remove(namespace: string, app: string, { tell, signal }: Pick<BringOptions, "tell" | "signal">): Promise<void> {
    const containers = await this.#machine.containers(namespace, app);
    for (const { id } of lastFirst(containers)) {
      signal.throwIfAborted();
      tell({ step: "remove", id });
      await this.#machine.remove(namespace, id);
    }
    for (const name of await this.#machine.networksOf(app)) {
      tell({ step: "remove", id: name, message: "network" });
      await this.#machine.removeNetwork(name);
    }
  }

  async #found(namespace: string, desired: Desired): Promise<Found> {
    const own = await this.#machine.containers(namespace, desired.app);
    const known = new Set(own.map(({ id }) => id));
    const others: MachineContainer[] = [];
    for (const { id } of desired.containers) {
      if (known.has(id)) continue;
      const other = await this.#machine.container(namespace, id);
      if (other !== undefined) others.push(other);
    }
    return {
      containers: [...firstFirst(own), ...others].map((container) => this.#foundOf(desired.app, container)),
      networks: await this.#machine.networks(),
      ownNetworks: await this.#machine.networksOf(desired.app),
      volumes: await this.#machine.volumes(namespace),
    };
  }

  #foundOf(app: string, { id, labels }: MachineContainer): FoundContainer {
    const hash = labels[names.appHash] ?? "";
    return {
      id,
      app: labels[names.app],
      service: labels[names.appService] ?? "",
      hash,
      made: labels[names.app] === app ? this.#store.made(app, hash) : undefined,
      isWanted: labels[names.restart.status] !== "stopped",
    };
  }

  /** @returns what is to be watched after it */
  async #perform(
    namespace: string,
    revision: Revision,
    { app, containers }: Desired,
    step: Step,
    log: SignLog,
    { tell, signal, timeoutMs }: BringOptions,
  ): Promise<Watched | undefined> {
    const machine = this.#machine;
    switch (step.kind) {
      case "network":
        tell({ step: "network", id: step.network.name });
        await machine.createNetwork(app, step.network);
        return undefined;
      case "volume":
        // Made with its first container, and filled from that one's image.
        return undefined;
      case "remove":
        tell({ step: "remove", id: step.id });
        await machine.remove(namespace, step.id);
        return undefined;
      case "remove-network":
        tell({ step: "remove", id: step.name, message: "network" });
        await machine.removeNetwork(step.name);
        return undefined;
      case "update": {
        const { container } = step;
        tell({ step: "update", id: container.id, message: step.changes.map(({ key }) => key).join(", ") });
        this.#store.addMade(app, container.hash, container);
        const from = log.position;
        await machine.update(namespace, runOptions(app, revision, container), step.hasLimits);
        if (!step.changes.some(({ key }) => key === "health")) return undefined;
        const { status } = await machine.status(namespace, container.id);
        return this.#watch(namespace, containers, container, { from, timeoutMs, isRunning: status === "running" });
      }
      case "start":
        tell({ step: "start", id: step.container.id });
        break;
      case "recreate":
        tell({ step: "recreate", id: step.container.id, message: step.changes.map(({ key }) => key).join(", ") });
        await machine.remove(namespace, step.container.id);
        break;
      case "create":
        tell({ step: "create", id: step.container.id });
        break;
    }
    const { container } = step;
    const from = log.position;
    const begun = performance.now();
    if (step.kind === "start") await machine.start(namespace, container.id);
    else {
      this.#store.addMade(app, container.hash, container);
      const warnings = await machine.create(namespace, runOptions(app, revision, container), container.digest, signal);
      for (const message of warnings) tell({ step: "create", id: container.id, message });
    }
    return this.#watch(namespace, containers, container, { from, timeoutMs, isRunning: false, begun });
  }

  /** Begins to watch a container that is there; undefined for one of an earlier revision. */
  async #made(
    namespace: string,
    revision: Revision,
    { containers }: Desired,
    container: DesiredContainer,
    log: SignLog,
    { timeoutMs }: BringOptions,
  ): Promise<Watched | undefined> {
    const { id } = container;
    const labels = (await this.#machine.container(namespace, id))?.labels;
    if (labels?.[names.appRevision] !== String(revision.number)) return undefined;
    const from = log.position;
    const { status, health, exitStatus } = await this.#machine.status(namespace, id);
    const isRunning = status === "running";
    // What has interrupted us may have killed it, too, or its shim: that says nothing of its version.
    const isKilled = status === "exited" && exitStatus === KILLED;
    if (isKilled) await this.#machine.start(namespace, id);
    const watched = await this.#watch(namespace, containers, container, { from, timeoutMs, isRunning });
    const now = performance.now();
    if (isRunning && health !== "") watched.judge.saw({ id, kind: "health", status: health }, now);
    if (status === "exited" && exitStatus !== undefined && !isKilled) {
      watched.judge.saw({ id, kind: "started" }, now);
      watched.judge.saw({ id, kind: "ended", status: exitStatus }, now);
    }
    return watched;
  }

  /** Begins to watch a container. */
  async #watch(
    namespace: string,
    all: readonly DesiredContainer[],
    { id, options }: DesiredContainer,
    how: { readonly from: number; readonly timeoutMs: number; readonly isRunning: boolean; readonly begun?: number },
  ): Promise<Watched> {
    const { from, timeoutMs, isRunning, begun = performance.now() } = how;
    const made = await this.#machine.container(namespace, id);
    const health = made === undefined ? undefined : this.#machine.health(made);
    const isAwaited = all.some((other) =>
      other.options.dependsOn?.some((one) => one.id === id && one.condition === "completed"),
    );
    const policy = options.restart?.name ?? "no";
    const limitMs = timeoutMs > 0 ? timeoutMs : isAwaited ? this.#settings.completionMs : this.#limit(health);
    const expectation = {
      ...{ id, isRunning, limitMs },
      hasCheck: health !== undefined,
      check: made?.labels[names.health],
      mustComplete: isAwaited,
      mayComplete: policy === "no" || policy === "on-failure",
      restarts: policy !== "no",
    };
    const judge = new Judge([expectation], this.#settings, begun);
    return { id, judge, from, isTelling: isAwaited || health !== undefined, trouble: 0 };
  }

  /** What a check needs until it has decided, with a margin; without one, some breaks. */
  #limit(health: HealthConfig | undefined): number {
    const { stableMs, marginMs } = this.#settings;
    if (health === undefined) return 3 * stableMs + marginMs;
    return health.start_period + (health.interval + health.timeout) * health.retries + marginMs;
  }

  /** Waits until all are well. @throws UnwellError as soon as one is not */
  async #settle(namespace: string, watched: readonly Watched[], log: SignLog, options: BringOptions): Promise<void> {
    const { signal, tell } = options;
    const open = new Set(watched);
    while (open.size > 0) {
      signal.throwIfAborted();
      const now = performance.now();
      let due = now + 60_000;
      for (const one of open) {
        one.from = log.feed(one.judge, one.from);
        one.judge.tick(now);
        const { failure } = one.judge;
        if (failure !== undefined)
          throw new UnwellError(`${failure.id} ${failure.reason}${this.#because(namespace, one.id)}`);
        if (one.judge.pending.length === 0) {
          open.delete(one);
          tell({ step: "healthy", id: one.id });
          continue;
        }
        due = Math.min(due, one.judge.due ?? due);
        if (one.judge.hasStarted || this.#machine.trouble(namespace, one.id)?.isError !== true) one.trouble = 0;
        else if (one.trouble++ >= MAX_TROUBLE) {
          throw new UnwellError(`${one.id} cannot be started${this.#because(namespace, one.id)}`);
        }
      }
      if (open.size > 0) await log.next(Math.max(1, Math.min(due - performance.now(), TROUBLE_MS)), signal);
    }
  }

  #because(namespace: string, id: string): string {
    const why = this.#machine.trouble(namespace, id);
    return why === undefined ? "" : `: ${why.what}`;
  }
}

/** A container that is looked at until it is well. */
interface Watched {
  readonly id: string;
  readonly judge: Judge;
  /** Position in the log of signs. */
  from: number;
  /** It tells by itself whether it is well. */
  readonly isTelling: boolean;
  /** Looks at it that found trouble. */
  trouble: number;
}

function runOptions(app: string, revision: Revision, container: DesiredContainer): RunOptions {
  return {
    ...container.options,
    app: { name: app, service: container.service, revision: String(revision.number), hash: container.hash },
  };
}

/** By what they wait for, from their labels: what is waited for first. */
function firstFirst(containers: readonly MachineContainer[]): MachineContainer[] {
  const byId = new Map(containers.map((container) => [container.id, container]));
  const sorted = new Set<MachineContainer>();
  const visit = (container: MachineContainer, way: ReadonlySet<string>): void => {
    if (sorted.has(container) || way.has(container.id)) return;
    for (const id of waitsFor(container)) {
      const other = byId.get(id);
      if (other !== undefined) visit(other, new Set([...way, container.id]));
    }
    sorted.add(container);
  };
  for (const container of containers) visit(container, new Set());
  return [...sorted];
}

function lastFirst(containers: readonly MachineContainer[]): MachineContainer[] {
  return firstFirst(containers).toReversed();
}

function waitsFor({ labels }: MachineContainer): string[] {
  try {
    const list = JSON.parse(labels[names.dependsOn] ?? "[]") as { readonly id?: string }[];
    return list.flatMap(({ id }) => id ?? []);
  } catch {
    return [];
  }
}

function codeOf(error: unknown): Code {
  return error instanceof ContainerdError ? error.code : Code.Unknown;
}

function summary({ steps, kept }: Plan): string {
  const count = (kind: Step["kind"]): number => steps.filter((step) => step.kind === kind).length;
  const parts = (["create", "recreate", "update", "start", "remove"] as const).flatMap((kind) =>
    count(kind) > 0 ? [`${count(kind)} ${kind}`] : [],
  );
  return [...parts, `${kept.length} kept`].join(", ");
}
