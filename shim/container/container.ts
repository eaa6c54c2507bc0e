/**
 * One container: its init, its execs, and what happens to them (contract 1.8).
 *
 * Invariants: what changes the state of a process runs in that process's lock; State, Wait and Connect never wait for
 * runc. Everything that may be told to clients passes through `order`, and `#tell` is the only place that tells.
 */

import { deadlines } from "../../proto/deadlines.ts";
import { alreadyExists, failedPrecondition, invalidArgument, messageOf, notFound } from "../../proto/errdefs.ts";
import { checkIdentifier } from "../../proto/identifiers.ts";
import {
  type Cgroup,
  enableControllers,
  findCgroups,
  killCgroup,
  type OomWatch,
  removeCgroup,
  watchOom,
} from "../linux/cgroup/index.ts";
import { fileType, makeDirectory } from "../linux/file.ts";
import { type Mount, MountError, mapsIds, mountAll, unmountRecursive as unmountNow } from "../linux/mount.ts";
import type { Capture, Exit, Reaper } from "../linux/reaper.ts";
import { unmountRecursive } from "../linux/unmount.ts";
import { log } from "../log.ts";
import { Process } from "../process/process.ts";
import { PAUSING, statusNumber } from "../process/state.ts";
import { Stdio, type StdioOwner } from "../process/stdio/stdio.ts";
import { Runc } from "../runc/client.ts";
import { killError, runtimeError, saysExists, saysGone } from "../runc/error.ts";
import type { Events } from "../task/events.ts";
import { Order, type Step } from "../task/order.ts";
import { Bundle, type BundleSpec, runcRoot } from "./bundle.ts";
import { restore } from "./checkpoint.ts";
import type { Options } from "./options.ts";

/** What all containers of a shim share. */
export interface Host {
  readonly namespace: string;
  readonly reaper: Reaper;
  readonly events: Events;
}

/** A Create request, checked. */
export interface CreateRequest {
  readonly id: string;
  readonly bundle: string;
  readonly rootfs: readonly Mount[];
  readonly terminal: boolean;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly checkpoint: string;
  readonly options: Options;
}

/** How Delete answers. */
export interface Deleted {
  readonly pid: number;
  readonly exit: Exit | undefined;
}

/** A container from its creation until its deletion. */
export class Container {
  readonly id: string;
  readonly bundle: Bundle;
  readonly request: CreateRequest;
  readonly runc: Runc;
  readonly init: Process;
  readonly execs = new Map<string, Process>();
  /** Kept from the creation on, because a dead init has none (T-STS-1). */
  #cgroup: Cgroup | undefined;
  /** Init is there, and its cgroup has not been looked at yet. */
  #cgroupIsNew = false;
  readonly #host: Host;
  readonly #order: Order<Exit>;
  readonly #cgroupsPath: string | undefined;
  #oom: OomWatch | undefined;
  #pausing = false;
  #deletion: Promise<Deleted> | undefined;
  /** Calls of `runc kill` that have not ended. */
  readonly #signalling = new Set<Promise<void>>();

  private constructor(request: CreateRequest, spec: BundleSpec, host: Host) {
    const { options } = request;
    this.id = request.id;
    this.request = request;
    this.bundle = new Bundle(request.bundle);
    this.#host = host;
    this.runc = new Runc(
      {
        binary: options.binaryName || "runc",
        root: runcRoot(options.root, host.namespace),
        systemdCgroup: options.systemdCgroup,
      },
      host.reaper,
    );
    this.init = new Process("", request, request.checkpoint === "" ? "created" : "checkpoint");
    this.#order = new Order(spec.sharesPids);
    this.#cgroupsPath = spec.cgroupsPath;
  }

  /**
   * Creates a container (T-CRE-2). When it fails nothing is left: no mount, cgroup, process, runc state or descriptor.
   * @param signal aborted when the client gives up
   * @throws ContainerdError
   */
  static async create(request: CreateRequest, host: Host, signal: AbortSignal): Promise<Container> {
    const bundle = new Bundle(request.bundle);
    const container = new Container(request, bundle.readSpec(), host);
    await container.#create(signal);
    return container;
  }

  async #create(signal: AbortSignal): Promise<void> {
    const { bundle, request } = this;
    let runcRan = false;
    try {
      // In a group the bundle of start is another one: `delete` must find us from each.
      bundle.writeShimPid(process.pid);
      bundle.writeOptions(request.options);
      await this.#mountRootfs();
      this.init.stdio = await Stdio.open(request, this.#stdioOwner("", signal));
      if (request.checkpoint === "") {
        runcRan = true;
        await this.#runInit("OCI runtime create failed", (stdio) =>
          this.runc.create(this.id, {
            bundle: bundle.path,
            pidFile: bundle.initPidFile,
            log: bundle.logFile,
            consoleSocket: stdio.console?.path,
            noPivot: request.options.noPivotRoot,
            noNewKeyring: request.options.noNewKeyring,
            stdio: stdio.fds,
            signal,
          }),
        );
      }
    } catch (error) {
      await this.#undoCreate(runcRan && !(error instanceof Error && saysExists(error.cause)));
      throw error instanceof MountError && error.invalid ? invalidArgument(error.message) : error;
    }
    this.#tell(this.#order.created());
    // No code of the user runs before Start, so the answer of Create need not wait for the watch; Start does.
    setTimeout(() => this.#watchCgroup());
  }

  /** Runs the runc command that makes init, and takes init over. */
  async #runInit(what: string, run: (stdio: Stdio) => Promise<void>): Promise<void> {
    const { init, bundle } = this;
    const stdio = init.stdio;
    if (stdio === undefined) throw failedPrecondition(`container ${this.id} has no open streams`);
    const capture = this.#host.reaper.capture();
    try {
      try {
        await run(stdio);
        stdio.started();
        this.#adopt(init, bundle.readPid(bundle.initPidFile), capture);
      } catch (error) {
        throw error instanceof Error && error.name === "ContainerdError" ? error : runtimeError(error, what);
      }
    } finally {
      this.#host.reaper.release(capture);
    }
    this.#cgroupIsNew = true;
  }

  /** What {@link restore} of a checkpoint needs of the container. */
  async #restore(): Promise<void> {
    const { bundle, request } = this;
    await this.#runInit("OCI runtime restore failed", (stdio) => restore(this.runc, this.id, bundle, request, stdio));
    this.#watchCgroup();
  }

  async #mountRootfs(): Promise<void> {
    const { bundle, request } = this;
    if (request.rootfs.length === 0) return;
    makeDirectory(bundle.rootfs, 0o711);
    const isMapped = request.rootfs.some(({ options }) => mapsIds(options));
    const mountMapped = isMapped ? (await import("../linux/idmap.ts")).mountMapped : undefined;
    mountAll(request.rootfs, bundle.rootfs, mountMapped);
  }

  async #undoCreate(runcRan: boolean): Promise<void> {
    this.init.stdio?.close();
    if (runcRan) {
      await this.runc.delete(this.id, true).catch((error) => {
        if (!saysGone(error)) log.warn(`clean up failed create: ${messageOf(error)}`, { container: this.id });
      });
      // A runtime that was killed early does not know its own cgroup any more, nor (crun) its child in it.
      if (this.#cgroupsPath !== undefined) {
        killCgroup(this.#cgroupsPath, this.id);
        await removeCgroup(this.#cgroupsPath);
      }
    }
    this.#oom?.close();
    try {
      if (this.request.rootfs.length > 0) unmountNow(this.bundle.rootfs);
      this.bundle.removePidFile(this.bundle.initPidFile);
    } catch (error) {
      log.error(`clean up failed create: ${messageOf(error)}`, { container: this.id });
    }
  }

  #stdioOwner(key: string, signal?: AbortSignal): StdioOwner {
    const { options } = this.request;
    return {
      id: key || this.id,
      namespace: this.#host.namespace,
      isExec: key !== "",
      uid: options.ioUid,
      gid: options.ioGid,
      reaper: this.#host.reaper,
      directory: this.bundle.path,
      name: key === "" ? "init" : key,
      ...(signal === undefined ? {} : { signal }),
    };
  }

  /** Takes over a process that runc has left to us, from its pid on. */
  #adopt(process: Process, pid: number, capture: Capture): void {
    process.pid = pid;
    process.watched = this.#host.reaper.adopt(pid, capture);
    void process.watched.exited.then(async (exit) => {
      await process.stdio?.settle();
      this.#tell(this.#order.exited(process.key, exit));
    });
  }

  /** The container's cgroup; undefined when it has none, or it could not be found. */
  get cgroup(): Cgroup | undefined {
    this.#watchCgroup();
    return this.#cgroup;
  }

  /** Arms the OOM watch before any code of the user can run (T-CRE-6), and readies the cgroup (T-CRE-9). */
  #watchCgroup(): void {
    if (!this.#cgroupIsNew) return;
    this.#cgroupIsNew = false;
    try {
      const cgroup = findCgroups(this.init.pid);
      this.#cgroup = cgroup;
      for (const error of enableControllers(cgroup)) log.warn(error.message, { container: this.id });
      this.#oom = watchOom(cgroup, () => this.#host.events.oom(this.id));
    } catch (error) {
      log.warn(`no OOM events: ${messageOf(error)}`, { container: this.id });
    }
  }

  /** Tells the outside what `order` has let through. */
  #tell(steps: readonly Step<Exit>[]): void {
    const { events } = this.#host;
    for (const step of steps) {
      switch (step.tell) {
        case "create":
          events.create(this.request, this.init.pid);
          break;
        case "start":
          if (step.key === "") events.start(this.id, this.init.pid);
          else events.execStarted(this.id, step.key, this.#pidOf(step.key));
          break;
        case "exec-added":
          events.execAdded(this.id, step.key);
          break;
        case "exit":
          this.#tellExit(step.key, step.exit);
          break;
        case "kill-all":
          void this.#killAll();
          break;
        case "delete":
          events.delete(this.id, this.init.pid, this.init.exit);
          break;
      }
    }
  }

  /** `runc kill`; {@link #signalling} has it until it has ended. */
  async #signal(signal: number, all: boolean): Promise<void> {
    const kill = this.runc.kill(this.id, signal, all);
    this.#signalling.add(kill);
    try {
      await kill;
    } finally {
      this.#signalling.delete(kill);
    }
  }

  /** Kills what init has left: by runc, and by the cgroup when runc fails, for init's exit waits for the others. */
  async #killAll(): Promise<void> {
    try {
      await this.#signal(9, true);
    } catch (error) {
      if (saysGone(error)) return;
      log.warn(`kill what init left: ${messageOf(error)}`, { container: this.id });
      if (this.#cgroupsPath !== undefined) killCgroup(this.#cgroupsPath, this.id);
      for (const exec of this.execs.values()) exec.watched?.signal(9);
    }
  }

  #tellExit(key: string, exit: Exit): void {
    this.#watchCgroup();
    this.#oom?.check();
    const process = key === "" ? this.init : this.execs.get(key);
    const wasPaused = this.init.state === "paused";
    if (key === "") this.#record(exit, false);
    process?.setExited(exit);
    this.#host.events.exit(this.id, key || this.id, process?.pid ?? 0, exit);
    // What a frozen cgroup holds cannot die: it is let go when init is gone (T-PAU-3).
    if (key === "" && wasPaused) void this.runc.resume(this.id).catch(() => {});
  }

  /** Keeps the end of the container for `delete` (DL-6). */
  #record(exit: Exit, deleted: boolean): void {
    try {
      this.bundle.writeExitRecord(this.init.pid, exit, deleted);
    } catch (error) {
      // The bundle may be gone or its disk full: `delete` then answers 137, and everything else goes on.
      log.warn(`exit record: ${messageOf(error)}`, { container: this.id });
    }
  }

  #pidOf(key: string): number {
    return this.execs.get(key)?.pid ?? 0;
  }

  /**
   * The process that a request names; "" is init.
   * @throws ContainerdError NotFound
   */
  process(execId: string): Process {
    if (execId === "") return this.init;
    const process = this.execs.get(execId);
    if (process === undefined) throw notFound(`process does not exist ${execId}`);
    return process;
  }

  /** The number that State reports of a process (T-STT-1, T-STT-2). */
  status(process: Process): number {
    if (this.#pausing && process.state === "running") return PAUSING;
    if (process.state === "running" && this.init.state === "paused") return statusNumber("paused");
    return statusNumber(process.state);
  }

  /** Starts init or an exec (T-STA-1, T-STA-3). @returns its pid @throws ContainerdError */
  async start(execId: string, signal: AbortSignal): Promise<number> {
    const process = this.process(execId);
    return process.lock.run(async () => {
      if (process.key !== "" && this.#order.initGone) {
        throw failedPrecondition(`container ${this.id} init process is not running`);
      }
      const next = process.next("start");
      this.#watchCgroup();
      this.#order.starting(process.key);
      try {
        if (process.key !== "") await this.#startExec(process, signal);
        else if (process.state === "checkpoint") await this.#restore();
        else {
          await this.runc.start(this.id).catch((error) => {
            throw runtimeError(error, "OCI runtime start failed");
          });
        }
      } catch (error) {
        this.#tell(this.#order.startFailed(process.key));
        if (process.key !== "") this.#execNeverRan(process);
        throw error;
      }
      process.state = next;
      this.#tell(this.#order.started(process.key));
      return process.pid;
    });
  }

  async #startExec(process: Process, signal: AbortSignal): Promise<void> {
    const { bundle } = this;
    const pidFile = bundle.execPidFile(process.key);
    const capture = this.#host.reaper.capture();
    try {
      const stdio = await Stdio.open(process.addresses, this.#stdioOwner(process.key, signal));
      process.stdio = stdio;
      await this.runc.exec(this.id, {
        process: process.spec ?? new Uint8Array(),
        pidFile,
        consoleSocket: stdio.console?.path,
        stdio: stdio.fds,
        signal,
      });
      stdio.started();
      this.#adopt(process, bundle.readPid(pidFile), capture);
    } catch (error) {
      process.stdio?.close();
      throw error instanceof Error && error.name === "ContainerdError"
        ? error
        : runtimeError(error, "OCI runtime exec failed");
    } finally {
      this.#host.reaper.release(capture);
      process.spec = undefined;
      bundle.removePidFile(pidFile);
    }
  }

  /** Releases those who wait for an exec that failed to start (T-STA-6). */
  #execNeverRan(process: Process): void {
    const unknownExitStatus = 255;
    process.setExited({ status: unknownExitStatus, at: Date.now() });
  }

  /** Adds an exec (T-EXE-1 to T-EXE-5). @throws ContainerdError */
  exec(execId: string, addresses: Process["addresses"], spec: Uint8Array): void {
    checkIdentifier(execId, "exec id");
    if (this.execs.has(execId)) throw alreadyExists(`id ${execId}: already exists`);
    if (this.#order.initGone) throw failedPrecondition(`container ${this.id} init process is not running`);
    this.init.next("exec");
    const process = new Process(execId, addresses, "created");
    process.spec = spec;
    this.execs.set(execId, process);
    this.#tell(this.#order.execAdded(execId));
  }

  /** Kills init by runc, an exec by its pidfd (T-KIL-1 to T-KIL-5). @throws ContainerdError */
  async kill(execId: string, signal: number, all: boolean): Promise<void> {
    const process = this.process(execId);
    if (!Number.isInteger(signal) || signal < 0 || signal > 64)
      throw invalidArgument(`signal ${signal} does not exist`);
    if (process.key === "") {
      if (process.state === "stopped" && !all) throw notFound(`process already finished: container ${this.id}`);
      await this.#signal(signal, all).catch((error) => {
        throw killError(error, this.id);
      });
      return;
    }
    if (process.watched === undefined) {
      if (process.exit !== undefined) throw notFound("process already finished");
      throw failedPrecondition("process not created");
    }
    if (!process.watched.signal(signal)) throw notFound("process already finished");
  }

  /** Freezes the container (T-PAU-1). @throws ContainerdError */
  pause(): Promise<void> {
    return this.init.lock.run(async () => {
      const next = this.init.next("pause");
      this.#pausing = true;
      try {
        await this.runc.pause(this.id);
      } catch (error) {
        throw runtimeError(error, "OCI runtime pause failed");
      } finally {
        this.#pausing = false;
      }
      if (this.init.exit === undefined) this.init.state = next;
      this.#host.events.paused(this.id);
    });
  }

  /** Lets a frozen container go on. @throws ContainerdError */
  resume(): Promise<void> {
    return this.init.lock.run(async () => {
      const next = this.init.next("resume");
      try {
        await this.runc.resume(this.id);
      } catch (error) {
        throw runtimeError(error, "OCI runtime resume failed");
      }
      if (this.init.exit === undefined) this.init.state = next;
      this.#host.events.resumed(this.id);
    });
  }

  /** Changes limits. @param resources LinuxResources as JSON @throws ContainerdError */
  update(resources: Uint8Array): Promise<void> {
    return this.init.lock.run(async () => {
      this.init.next("update");
      try {
        await this.runc.update(this.id, resources);
      } catch (error) {
        throw runtimeError(error, "OCI runtime update failed");
      }
    });
  }

  /** Sets the size of a process's terminal. @throws ContainerdError */
  resize(execId: string, width: number, height: number): void {
    const process = this.process(execId);
    process.next("resize");
    if (width > 0xffff || height > 0xffff) throw invalidArgument(`terminal size ${width}x${height} is too large`);
    process.stdio?.resize(width, height);
  }

  /** Writes a checkpoint (CP-1). @throws ContainerdError */
  checkpoint(run: (runc: Runc, container: Container) => Promise<void>): Promise<void> {
    return this.init.lock.run(async () => {
      this.init.next("checkpoint");
      await run(this.runc, this);
    });
  }

  /** The pids of the container, and those that Exec started by their ids (T-PID-1). */
  async pids(): Promise<{ pid: number; execId: string }[]> {
    const named = new Map<number, string>();
    for (const exec of this.execs.values()) if (exec.exit === undefined && exec.pid > 0) named.set(exec.pid, exec.key);
    let pids: number[];
    try {
      pids = this.init.exit === undefined && this.init.pid > 0 ? await this.runc.ps(this.id) : [];
    } catch (error) {
      // containerd kills a container whose pids it cannot learn (T-PID-2, R07): what we know ourselves is true as well.
      log.warn(`runc ps: ${messageOf(error)}`, { container: this.id });
      pids = [];
    }
    // An empty list would make containerd, on its restart, take the shim of an exited container for a leaked one, and
    // lose the exit that nobody has heard of yet (RS-3).
    if (pids.length === 0 && this.init.pid > 0) pids = [this.init.pid, ...named.keys()];
    return pids.map((pid) => ({ pid, execId: named.get(pid) ?? "" }));
  }

  /**
   * Deletes an exec, or with init the container. A caller that gave up may ask again: the work goes on, and all who ask
   * get its one result (T-DEL-5).
   * @throws ContainerdError
   */
  delete(execId: string): Promise<Deleted> {
    const process = this.process(execId);
    if (process.key !== "") return process.lock.run(() => this.#deleteExec(process));
    this.#deletion ??= this.init.lock
      .run(() => this.#deleteInit())
      .catch((error) => {
        this.#deletion = undefined;
        throw error;
      });
    return this.#deletion;
  }

  async #deleteExec(process: Process): Promise<Deleted> {
    if (this.execs.get(process.key) !== process) throw notFound(`process does not exist ${process.key}`);
    process.next("delete");
    await process.stdio?.drain();
    process.stdio?.close();
    this.execs.delete(process.key);
    this.#order.execDeleted(process.key);
    process.state = "deleted";
    return { pid: process.pid, exit: process.exit };
  }

  async #deleteInit(): Promise<Deleted> {
    const { init } = this;
    const next = init.next("delete");
    await init.stdio?.drain();
    if (init.pid > 0) {
      // `runc kill --all` freezes a cgroup of v1 while it works, and its processes may be gone before it has thawed it.
      await Promise.allSettled(this.#signalling);
      await this.runc.delete(this.id, init.state !== "stopped").catch((error) => {
        if (!saysGone(error)) throw runtimeError(error, "OCI runtime delete failed");
      });
      // A container that was never started has been killed just now: its exit comes before its deletion.
      if (init.exit === undefined) await Promise.race([init.wait(), Bun.sleep(deadlines.drain)]);
    }
    if (this.request.rootfs.length > 0) await unmountRecursive(this.bundle.rootfs, this.#host.reaper);
    init.stdio?.close();
    for (const exec of this.execs.values()) exec.stdio?.close();
    this.#oom?.close();
    this.#record(init.exit ?? { status: 0, at: Date.now() }, true);
    init.state = next;
    this.#tell(this.#order.deleted());
    return { pid: init.pid, exit: init.exit };
  }

  /** What `-debug` and SIGUSR1 show of the container. */
  dump(): object {
    const show = (process: Process) => ({
      id: process.key || this.id,
      pid: process.pid,
      state: process.state,
      exit: process.exit,
      ...process.addresses,
    });
    return {
      id: this.id,
      bundle: this.bundle.path,
      init: show(this.init),
      execs: [...this.execs.values()].map(show),
      cgroup: this.cgroup,
    };
  }
}

/** Refuses what a hostile or mistaken request may ask for before anything is touched. @throws ContainerdError */
export function checkCreate(id: string, bundle: string): void {
  checkIdentifier(id, "container id");
  if (!bundle.startsWith("/") || bundle.split("/").includes("..")) {
    throw invalidArgument(`bundle ${JSON.stringify(bundle)} is no absolute path without ".."`);
  }
  const type = fileType(bundle);
  if (type === undefined) throw invalidArgument(`bundle ${bundle} does not exist`);
  if (type !== "directory") throw invalidArgument(`bundle ${bundle} is no directory`);
}
