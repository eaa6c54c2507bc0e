/**
 * The ordering rules of contract 1.9, without containers, clocks or IO: what happened goes in, what may be told to the
 * outside comes out, in the order in which it must be told.
 *
 * The rules: create before everything; a start before the exit of the same process, however early the exit was seen;
 * the exit of init after the exits of all execs, and last; delete after the exit; nothing told twice; what init leaves
 * behind is killed once, when no further process can come up.
 */

/** Names a process of a container: an exec id, or "" for init. */
export type Key = string;

/** What may be told now. `exit` means: release those who wait, then publish TaskExit (EV-7). */
export type Step<E> =
  | { readonly tell: "create" }
  | { readonly tell: "start"; readonly key: Key }
  | { readonly tell: "exec-added"; readonly key: Key }
  | { readonly tell: "exit"; readonly key: Key; readonly exit: E }
  | { readonly tell: "delete" }
  /** Init is gone and its pid namespace is not its own: what it left behind must be killed (PR-3). */
  | { readonly tell: "kill-all" };

/**
 * `added`: no process yet. `starting`: runc is at work, an exit may be seen before its answer. `running`: the start was
 * told. `exited`: the exit was told.
 */
type Phase = "added" | "starting" | "running" | "exited";

/** The order of one container's events. `E` is what is known of an exit. */
export class Order<E> {
  readonly #phases = new Map<Key, Phase>();
  /** Exits that may not be told yet. */
  readonly #held = new Map<Key, E>();
  readonly #sharesPids: boolean;
  #initGone = false;
  #created = false;
  #deleted = false;
  /** Init left others behind, and they have not been told to be killed yet. */
  #mustKill = false;

  /** @param sharesPids init has no pid namespace of its own, so its end does not end the others */
  constructor(sharesPids: boolean) {
    this.#sharesPids = sharesPids;
    this.#phases.set("", "starting");
  }

  /** True once init's exit was seen, told or not: no further process may be started (T-STA-4). */
  get initGone(): boolean {
    return this.#initGone;
  }

  /** runc create has succeeded. */
  created(): Step<E>[] {
    this.#created = true;
    this.#phases.set("", "running");
    return [{ tell: "create" }, ...this.#release()];
  }

  /** A start of the process is under way; its exit, should it be seen now, waits for the answer. */
  starting(key: Key): void {
    if (this.#phases.get(key) !== "exited") this.#phases.set(key, "starting");
  }

  /** The process runs. */
  started(key: Key): Step<E>[] {
    this.#phases.set(key, "running");
    return [{ tell: "start", key }, ...this.#release()];
  }

  /**
   * The process did not start. An exec never ran, so nothing is told of it and init's exit waits for it no longer
   * (T-STA-6); init goes back to where it was.
   */
  startFailed(key: Key): Step<E>[] {
    if (key === "") {
      if (this.#phases.get(key) === "starting") this.#phases.set(key, "running");
    } else {
      this.#held.delete(key);
      this.#phases.set(key, "exited");
    }
    return this.#release();
  }

  /** An exec was added. */
  execAdded(key: Key): Step<E>[] {
    this.#phases.set(key, "added");
    return [{ tell: "exec-added", key }];
  }

  /** An exec was deleted; its id may be used again. */
  execDeleted(key: Key): void {
    this.#phases.delete(key);
    this.#held.delete(key);
  }

  /** A process was reaped. */
  exited(key: Key, exit: E): Step<E>[] {
    const phase = this.#phases.get(key);
    if (phase === undefined || phase === "exited" || this.#held.has(key)) return [];
    this.#held.set(key, exit);
    if (key === "") {
      this.#initGone = true;
      this.#mustKill = this.#sharesPids;
    }
    return this.#release();
  }

  /**
   * The container was deleted; its init has exited or never ran. An exit of init that still waited for execs is told
   * now: nothing is told after a delete.
   */
  deleted(): Step<E>[] {
    const exit = this.#held.get("");
    this.#held.clear();
    this.#deleted = true;
    this.#phases.set("", "exited");
    return exit === undefined ? [{ tell: "delete" }] : [{ tell: "exit", key: "", exit }, { tell: "delete" }];
  }

  /** Tells the held exits that nothing holds any more, init's last. */
  #release(): Step<E>[] {
    if (!this.#created || this.#deleted) return [];
    const steps: Step<E>[] = [];
    const phases = () => [...this.#phases].filter(([key]) => key !== "").map(([, phase]) => phase);
    // An exec that is being started now would outlive a kill, and hold init's exit for as long as it runs.
    if (this.#mustKill && !phases().includes("starting")) {
      this.#mustKill = false;
      steps.push({ tell: "kill-all" });
    }
    const tell = (key: Key) => {
      const exit = this.#held.get(key);
      if (exit === undefined || this.#phases.get(key) !== "running") return;
      this.#held.delete(key);
      this.#phases.set(key, "exited");
      steps.push({ tell: "exit", key, exit });
    };
    for (const key of [...this.#held.keys()]) if (key !== "") tell(key);
    if (!phases().some((phase) => phase === "running" || phase === "starting")) tell("");
    return steps;
  }
}
