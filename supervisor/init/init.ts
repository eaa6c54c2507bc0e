/**
 * berthd as process 1, of a container or of a machine. Process 1 must never end and must wait for every orphan, and the
 * daemon may crash and be upgraded: so process 1 is this loop and nothing else, and the daemon is its child. It has one
 * child that it knows; whatever else the kernel hands to it, it waits for and forgets. No status is ever taken from the
 * daemon, or from what it runs: those are the daemon's own children.
 *
 * It sleeps until a signal comes: no timers while all is well.
 */

import { messageOf } from "../../proto/errdefs.ts";
import {
  bringUp,
  Power,
  Reaper,
  readFileIfExists,
  reboot,
  setName,
  signalAll,
  syncAll,
  type Watched,
  writeFile,
} from "../../shim/linux/index.ts";
import { prepareCgroups } from "./cgroups.ts";
import { isMachine, remountReadOnly } from "./machine.ts";
import { mountSystems } from "./mounts.ts";
import { say } from "./say.ts";

/** Signals as numbers. */
const SIG = { USR2: 12, TERM: 15, KILL: 9 } as const;
/** What is to follow the end of all containers, by the signal that asks for it, as busybox's init has it. */
const endings = { SIGTERM: Power.restart, SIGINT: Power.restart, SIGUSR2: Power.powerOff } as const;

/** Waits between two starts of a daemon that crashes: they double, from the first to the last. */
const MIN_WAIT_MS = 500;
const MAX_WAIT_MS = 60_000;
/** A daemon that ran this long starts again after the shortest wait. */
const RESET_MS = 60_000;
/** A daemon that ends by itself so soon after the first start cannot run at all: in a container that is told by our end. */
const FIRST_MS = 5_000;
/** The daemon has this long to end all containers in order. */
const STOP_MS = 300_000;
/** What is left after that has this long after SIGTERM, and after SIGKILL. */
const REST_MS = 2_000;

/** Runs until the end. @param args of the daemon @returns the exit status, in a container; of a machine it is the end */
export async function init(args: readonly string[]): Promise<number> {
  // It ends every process at last.
  if (process.pid !== 1) throw new Error("only process 1 may be init");
  mountSystems();
  return new Init(args, isMachine()).run();
}

class Init {
  readonly #args: readonly string[];
  readonly #isMachine: boolean;
  readonly #reaper = new Reaper();
  readonly #told = Promise.withResolvers<keyof typeof endings>();
  #isTold = false;
  readonly #hurries = Promise.withResolvers<void>();

  constructor(args: readonly string[], machine: boolean) {
    this.#args = args;
    this.#isMachine = machine;
  }

  async run(): Promise<number> {
    setName("berth-init");
    this.#reaper.start();
    for (const signal of Object.keys(endings) as (keyof typeof endings)[]) process.on(signal, () => this.#tell(signal));
    // Neither a terminal that goes nor a reader that goes is our end.
    for (const signal of ["SIGHUP", "SIGPIPE"] as const) process.on(signal, () => undefined);
    prepareCgroups();
    this.#settle();
    say("info", `process 1 of ${this.#isMachine ? "this machine" : "a container"}`);
    // Orphans that ended before we listened.
    this.#reaper.sweep();
    const status = await this.#keepDaemon();
    if (status !== undefined && !this.#isMachine) {
      await this.#endRest();
      return status;
    }
    const signal = await this.#told.promise;
    await this.#endRest();
    if (!this.#isMachine) return 0;
    say("info", signal === "SIGUSR2" ? "power off" : "reboot");
    remountReadOnly();
    syncAll();
    reboot(endings[signal]);
    return 0;
  }

  /** What a machine or a container needs beside mounts. */
  #settle(): void {
    const attempt = (what: string, action: () => void): void => {
      try {
        action();
      } catch (error) {
        say("warning", `${what}: ${messageOf(error)}`);
      }
    };
    attempt("loopback", () => bringUp("lo"));
    if (!this.#isMachine) return;
    // Ctrl-Alt-Del comes as SIGINT.
    attempt("Ctrl-Alt-Del", () => reboot(Power.keysOff));
    const name = readFileIfExists("/etc/hostname")?.trim() ?? "";
    if (name !== "") attempt("hostname", () => writeFile("/proc/sys/kernel/hostname", name));
  }

  #tell(signal: keyof typeof endings): void {
    if (this.#isTold) {
      this.#hurries.resolve();
      return;
    }
    this.#isTold = true;
    say("info", `${signal}: stopping all containers (once more: at once)`);
    this.#told.resolve(signal);
  }

  /**
   * Keeps the daemon running until somebody asks for the end.
   * @returns undefined then; the exit status of a daemon that cannot run, in a container
   */
  async #keepDaemon(): Promise<number | undefined> {
    let wait = MIN_WAIT_MS;
    for (let isFirst = true; !this.#isTold; isFirst = false) {
      const begun = performance.now();
      const daemon = this.#start();
      const exit = await Promise.race([daemon.exited, this.#told.promise.then(() => undefined)]);
      if (exit === undefined) {
        await this.#stop(daemon);
        return undefined;
      }
      const ran = performance.now() - begun;
      const cannot = isFirst && exit.status !== 0 && exit.status < 128 && ran < FIRST_MS;
      if (cannot && !this.#isMachine) return exit.status;
      if (ran >= RESET_MS) wait = MIN_WAIT_MS;
      say("error", `berthd ended with status ${exit.status}: it is started again in ${wait} ms; containers go on`);
      const { promise: over, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, wait);
      await Promise.race([over, this.#told.promise]);
      clearTimeout(timer);
      wait = Math.min(MAX_WAIT_MS, wait * 2);
    }
    return undefined;
  }

  #start(): Watched {
    const env = Object.fromEntries(
      Object.entries(Bun.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
    );
    env["PATH"] ||= "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    return this.#reaper.spawn({ path: process.execPath, argv: ["berthd", ...this.#args], env, fds: [0, 1, 2] });
  }

  /** Has the daemon end all containers, and then itself. */
  async #stop(daemon: Watched): Promise<void> {
    daemon.signal(SIG.USR2);
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, STOP_MS);
    await Promise.race([daemon.exited, late, this.#hurries.promise]);
    clearTimeout(timer);
    daemon.signal(SIG.KILL);
    await daemon.exited;
  }

  /** Ends whatever is left of all processes. */
  async #endRest(): Promise<void> {
    for (const signal of [SIG.TERM, SIG.KILL]) {
      if (!signalAll(signal)) return;
      const until = performance.now() + REST_MS;
      // Signal 0 asks whether there is anybody. This is the end: what sleeps here costs nobody anything.
      while (performance.now() < until) {
        await Bun.sleep(20);
        this.#reaper.sweep();
        if (!signalAll(0)) return;
      }
    }
  }
}
