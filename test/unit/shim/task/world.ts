/**
 * A container's life as seen from its ordering rules: what can happen next, what the world does with what it is told,
 * and a witness who notices every broken promise of contract 1.9.
 */

import { Order, type Step } from "../../../../shim/task/order.ts";

/** Who exited, and which process under that name: ids may be used again. */
export type End = string;
export type Told = Step<End>;

/** Something that happens to the container. */
export interface Action {
  readonly name: string;
  readonly key: string;
}

interface Exec {
  phase: "added" | "starting" | "running" | "failed";
  /** Its process was reaped. */
  exited: boolean;
  /** The kernel or the runtime has killed it: its exit will be seen. */
  dying: boolean;
  incarnation: number;
}

/** Checks what is told. */
class Witness {
  readonly told: Told[] = [];
  readonly #started = new Set<string>();
  readonly #exits = new Set<string>();
  readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  see(steps: readonly Told[]): void {
    for (const step of steps) {
      this.#see(step);
      this.told.push(step);
    }
  }

  #see(step: Told): void {
    const told = (name: Told["tell"], key?: string) =>
      this.told.filter((other) => other.tell === name && (key === undefined || ("key" in other && other.key === key)));
    expectThat((this.told.length === 0) === (step.tell === "create"), "create comes first, and once");
    expectThat(told("delete").length === 0, "nothing comes after delete");
    const initExited = told("exit", "").length > 0;
    switch (step.tell) {
      case "kill-all":
        expectThat(
          this.world.shared && !this.world.initAlive,
          "kill-all only for what init left in a shared namespace",
        );
        expectThat(told("kill-all").length === 0, "kill-all comes once");
        break;
      case "exec-added":
      case "start":
        expectThat(!initExited, "init's exit is last");
        if (step.tell === "start") {
          const name = this.world.nameOf(step.key);
          expectThat(!this.#started.has(name), `${name} is started once`);
          expectThat(step.key === "" || told("exec-added", step.key).length > 0, "an exec is added before it starts");
          this.#started.add(name);
        }
        break;
      case "exit": {
        expectThat(!initExited, "init's exit is last, and once");
        const name = this.world.nameOf(step.key);
        expectThat(step.exit === name, `the exit of ${name} is its own, not that of ${step.exit}`);
        expectThat(!this.#exits.has(name), `${name} exits once`);
        this.#exits.add(name);
        if (step.key === "") {
          expectThat(!this.world.execs.values().some(isBusy), "init's exit waits for execs");
          expectThat(this.world.init !== "starting", "init's exit waits for the answer of its start");
          if (this.world.init === "started") expectThat(this.#started.has(name), "init starts before it exits");
        } else expectThat(this.#started.has(name), `${name} starts before it exits`);
        break;
      }
      case "delete":
        expectThat(initExited || this.world.initAlive, "delete comes after exit");
    }
  }

  /** To be called when nothing more can happen. */
  checkComplete(): void {
    for (const name of this.#started) expectThat(this.#exits.has(name), `the exit of ${name} is told in the end`);
    expectThat(this.#exits.has(this.world.nameOf("")), "the exit of init is told in the end");
    expectThat(this.told.at(-1)?.tell === "delete", "delete is told in the end");
    const kills = this.told.filter((step) => step.tell === "kill-all").length;
    expectThat(kills === (this.world.shared ? 1 : 0), "kill-all is told exactly when pids are shared");
  }
}

/** A promise of the ordering rules that was broken. */
export class BrokenPromise extends Error {
  override readonly name = "BrokenPromise";
}

function expectThat(kept: boolean, promise: string): void {
  if (!kept) throw new BrokenPromise(promise);
}

function isBusy(exec: Exec): boolean {
  return exec.phase === "starting" || (exec.phase === "running" && !exec.exited);
}

/** One container, its order, and its witness. */
export class World {
  readonly shared: boolean;
  readonly execs = new Map<string, Exec>();
  readonly witness = new Witness(this);
  init: "creating" | "created" | "starting" | "started" = "creating";
  initAlive = true;
  readonly #order: Order<End>;
  readonly #keys: readonly string[];
  readonly #mayReuse: boolean;
  readonly #incarnations = new Map<string, number>();
  #deleted = false;
  /** A client may try again once; for ever would be no history. */
  #initStarts = 0;

  /**
   * @param shared init has no pid namespace of its own
   * @param keys exec ids that may be used
   * @param mayReuse an id may be used again after its exec was deleted
   * @param Kind the ordering rules to look at
   */
  constructor(shared: boolean, keys: readonly string[], mayReuse: boolean, Kind: typeof Order = Order) {
    this.shared = shared;
    this.#keys = keys;
    this.#mayReuse = mayReuse;
    this.#order = new Kind(shared);
  }

  nameOf(key: string): string {
    return `${key || "init"}#${this.#incarnations.get(key) ?? 0}`;
  }

  #told(tell: Told["tell"], key: string): boolean {
    return this.witness.told.some((step) => step.tell === tell && "key" in step && step.key === key);
  }

  /** True once init's exit was told: no client finds it running any more. */
  get #stopped(): boolean {
    return this.#told("exit", "");
  }

  #exitTold(exec: Exec, key: string): boolean {
    const end = `${key}#${exec.incarnation}`;
    return this.witness.told.some((step) => step.tell === "exit" && step.exit === end);
  }

  /** What can happen next, by the rules that the caller of Order keeps. */
  actions(): Action[] {
    if (this.#deleted) return [];
    const next: Action[] = [];
    const may = (name: string, key: string, when: boolean) => when && next.push({ name, key });
    const created = this.init !== "creating";
    may("created", "", !created);
    may("start", "", this.init === "created" && !this.#stopped && this.#initStarts < 2);
    may("started", "", this.init === "starting");
    may("start failed", "", this.init === "starting");
    may("exit", "", this.initAlive);
    for (const key of this.#keys) {
      const exec = this.execs.get(key);
      if (exec === undefined) {
        const used = this.#incarnations.has(key);
        may("add", key, created && !this.#order.initGone && (this.#mayReuse || !used));
        continue;
      }
      may("start", key, exec.phase === "added" && !this.#order.initGone);
      may("started", key, exec.phase === "starting");
      may("start failed", key, exec.phase === "starting" && !exec.exited);
      may("exit", key, !exec.exited && (exec.phase === "starting" || exec.phase === "running"));
      may("delete", key, exec.phase === "added" || exec.phase === "failed" || this.#exitTold(exec, key));
    }
    may("delete", "", this.#stopped);
    return next;
  }

  /** What must happen sooner or later, if nothing else does. */
  inevitable(): Action[] {
    return this.actions().filter(({ name, key }) => {
      if (name === "add" || name === "start") return false;
      const exec = this.execs.get(key);
      // Nobody but the kill ends an exec that runs in a shared namespace.
      if (name === "exit" && exec !== undefined) return exec.dying;
      return true;
    });
  }

  do({ name, key }: Action): void {
    if (key !== "") this.#doExec(name, key);
    else if (name === "created") {
      this.init = "created";
      this.#see(this.#order.created());
    } else if (name === "start") {
      this.init = "starting";
      this.#initStarts++;
      this.#order.starting("");
    } else if (name === "started") {
      this.init = "started";
      this.#see(this.#order.started(""));
    } else if (name === "start failed") {
      this.init = "created";
      this.#see(this.#order.startFailed(""));
    } else if (name === "exit") {
      this.initAlive = false;
      // A pid namespace of its own dies with init.
      if (!this.shared) for (const exec of this.execs.values()) exec.dying = true;
      this.#see(this.#order.exited("", this.nameOf("")));
    } else {
      this.#deleted = true;
      this.#see(this.#order.deleted());
    }
  }

  #doExec(name: string, key: string): void {
    const exec = this.execs.get(key) ?? { phase: "added", exited: false, dying: false, incarnation: 0 };
    switch (name) {
      case "add":
        exec.incarnation = (this.#incarnations.get(key) ?? 0) + 1;
        this.#incarnations.set(key, exec.incarnation);
        this.execs.set(key, exec);
        this.#see(this.#order.execAdded(key));
        break;
      case "start":
        exec.phase = "starting";
        this.#order.starting(key);
        break;
      case "started":
        exec.phase = "running";
        if (!this.initAlive && !this.shared) exec.dying = true;
        this.#see(this.#order.started(key));
        break;
      case "start failed":
        exec.phase = "failed";
        this.#see(this.#order.startFailed(key));
        break;
      case "exit":
        exec.exited = true;
        this.#see(this.#order.exited(key, this.nameOf(key)));
        break;
      case "delete":
        this.execs.delete(key);
        this.#order.execDeleted(key);
    }
  }

  #see(steps: readonly Told[]): void {
    this.witness.see(steps);
    // What is in the cgroup now is killed; what comes up later is not.
    if (steps.some((step) => step.tell === "kill-all")) {
      for (const exec of this.execs.values()) if (exec.phase === "running") exec.dying = true;
    }
  }

  /** Lets everything inevitable happen, in an order chosen by `pick`, and checks that nothing was held back. */
  end(pick: (count: number) => number): Action[] {
    const done: Action[] = [];
    for (let next = this.inevitable(); next.length > 0; next = this.inevitable()) {
      const action = next[pick(next.length)];
      if (action === undefined) throw new Error("picked nothing");
      done.push(action);
      this.do(action);
    }
    this.witness.checkComplete();
    return done;
  }
}
