/** A place where shims are started as containerd starts them, but by us: namespace, addresses, event service, bundles. */

import { existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { containerd, google } from "../../../proto/gen/shim.js";
import { Client } from "../../../proto/ttrpc/index.ts";
import { findCgroups } from "../cgroup.ts";
import { isAlive } from "../process.ts";
import { findMounts, findProcesses } from "../sweep.ts";
import { waitFor } from "../wait.ts";
import { type BinaryAnswer, callBinary, plainEnvironment } from "./binary.ts";
import { type Bundle, type BundleOptions, makeBundle, makeRoot } from "./bundle.ts";
import { EventService } from "./events.ts";
import { milliseconds, TaskClient, type TaskExit, type TaskStdio } from "./task.ts";

/** Runtime options as they go into an Any of runc's type. */
export type RuncOptions = containerd.runc.v1.Options.$Properties;

/** How a shim is started. */
export interface StartOptions {
  /** Runtime options, also given to Create. */
  readonly runc?: RuncOptions;
  /** With `-debug`. */
  readonly debug?: boolean;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** What is run in the shim's place, with the shim and its arguments behind it. */
  readonly wrapper?: readonly string[];
}

/** Runtime options as an Any. */
export function runcAny(options: RuncOptions): { type_url: string; value: Uint8Array } {
  return { type_url: "containerd.runc.v1.Options", value: containerd.runc.v1.Options.encode(options).finish() };
}

/** An Any as bytes, as it stands on stdin of `start`. */
export function anyBytes(any: { type_url: string; value: Uint8Array }): Uint8Array {
  return google.protobuf.Any.encode(any).finish();
}

/** The path of an address that `start` printed. @throws Error for another kind of address */
export function pathOfAddress(address: string): string {
  if (!address.startsWith("unix:///")) throw new Error(`${JSON.stringify(address)} is no address of a unix socket`);
  return address.slice("unix://".length);
}

/** The answer of the binary call `delete` (DL-2). */
export interface DeleteAnswer extends TaskExit {
  readonly pid: number;
  readonly call: BinaryAnswer;
}

/** Everything one test file shares. */
export class ShimRig {
  readonly dir: string;
  readonly namespace: string;
  /** `-address`: nobody listens there. */
  readonly grpcAddress: string;
  readonly events: EventService;
  /** The tree that containers have as their root. */
  readonly root: string;
  /** Of the test that runs. */
  shims: Shim[] = [];
  bundles: Bundle[] = [];
  #count = 0;

  constructor(dir: string, namespace: string) {
    this.dir = dir;
    this.namespace = namespace;
    this.grpcAddress = join(dir, "c.sock");
    this.events = new EventService(`${this.grpcAddress}.ttrpc`);
    this.root = join(dir, "tree");
    mkdirSync(dir, { recursive: true });
    makeRoot(this.root);
    this.events.start();
  }

  /** An id that no other container of this rig has, and that is no part of another. */
  id(): string {
    return `t${String(++this.#count).padStart(4, "0")}`;
  }

  async bundle(options: BundleOptions = {}, id = this.id()): Promise<Bundle> {
    return await this.bundleAt(join(this.dir, "bundles", id), options, id);
  }

  async bundleAt(path: string, options: BundleOptions = {}, id = this.id()): Promise<Bundle> {
    const bundle = await makeBundle(path, id, this.root, `/${this.namespace}-${id}`, options);
    this.bundles.push(bundle);
    return bundle;
  }

  /** Path of the shim's socket for a group or container, by containerd's rule (SK-1). */
  socketPath(group: string, debug = false): string {
    const text = [this.grpcAddress, this.namespace, group, ...(debug ? ["debug"] : [])].join("/");
    return `/run/containerd/s/${new Bun.CryptoHasher("sha256").update(text).digest("hex")}`;
  }

  /** The flags of a binary call, as containerd 1.6 to 2.4 give them (INV-2). */
  flags(bundle: Bundle, action: "start" | "delete", debug = false): string[] {
    const common = ["-namespace", this.namespace, "-address", this.grpcAddress, "-publish-binary", "/bin/true"];
    const last = action === "delete" ? ["-bundle", bundle.path] : [];
    return [...common, "-id", bundle.id, ...last, ...(debug ? ["-debug"] : []), action];
  }

  environment(more: Readonly<Record<string, string>> = {}): Record<string, string> {
    return { ...plainEnvironment(), GOMAXPROCS: "2", TTRPC_ADDRESS: this.events.path, ...more };
  }

  /** The bare binary call `start`, whatever it answers. */
  async callStart(bundle: Bundle, options: StartOptions = {}, stdin?: Uint8Array): Promise<BinaryAnswer> {
    const given = stdin ?? (options.runc === undefined ? undefined : anyBytes(runcAny(options.runc)));
    return await callBinary({
      argv: this.flags(bundle, "start", options.debug),
      cwd: bundle.path,
      env: this.environment(options.env),
      ...(given === undefined ? {} : { stdin: given }),
      ...(options.wrapper === undefined ? {} : { wrapper: options.wrapper }),
    });
  }

  /** Starts a shim and connects to it. @throws Error when `start` fails or says anything but an address */
  async start(bundle: Bundle, options: StartOptions = {}): Promise<Shim> {
    const answer = await this.callStart(bundle, options);
    if (answer.exitCode !== 0 || answer.stderr !== "") {
      throw new Error(`start of ${bundle.id}: exit code ${answer.exitCode}, stderr ${JSON.stringify(answer.stderr)}`);
    }
    return await this.connect(bundle, new TextDecoder().decode(answer.stdout), options.runc);
  }

  /** Connects to a shim that has been started. */
  async connect(bundle: Bundle, address: string, runc?: RuncOptions): Promise<Shim> {
    const client = await Client.connect({ unix: pathOfAddress(address) }, { timeoutMs: 5_000 });
    const { shimPid } = await new TaskClient(client).connect(bundle.id);
    const shim = new Shim(this, bundle, address, client, shimPid, runc);
    this.shims.push(shim);
    return shim;
  }

  /** Starts a shim and in it a container that runs. */
  async run(options: BundleOptions = {}, start: StartOptions = {}): Promise<Shim> {
    const shim = await this.start(await this.bundle(options), start);
    await shim.create();
    await shim.task.start(shim.id);
    return shim;
  }

  /** The binary call `delete`. @throws Error when it fails, or answers no DeleteResponse */
  async delete(bundle: Bundle, debug = false, env?: Record<string, string>): Promise<DeleteAnswer> {
    const argv = this.flags(bundle, "delete", debug);
    const call = await callBinary({ argv, cwd: bundle.path, env: this.environment(env) });
    if (call.exitCode !== 0) throw new Error(`delete of ${bundle.id}: exit code ${call.exitCode}: ${call.stderr}`);
    const { pid, exitStatus, exitedAt } = containerd.task.v2.DeleteResponse.decode(call.stdout);
    return { pid, exitStatus, exitedAt: milliseconds(exitedAt), call };
  }

  /** Everything that is left of a container outside its bundle's files, as lines for a person. */
  leftOf(bundle: Bundle, group = bundle.id): string[] {
    const words = [`${bundle.path}`, bundle.cgroup];
    const state = `/run/containerd/runc/${this.namespace}/${bundle.id}`;
    const sockets = [this.socketPath(group), this.socketPath(group, true)];
    return [
      ...findProcesses(words)
        .filter((p) => p.state !== "Z")
        .map((p) => `process ${p.pid}: ${p.argv.join(" ") || p.comm}`),
      ...findMounts([`${bundle.path}/`]).map((path) => `mount ${path}`),
      ...findCgroups([bundle.cgroup]).map((path) => `cgroup ${path}`),
      ...[state, ...sockets].filter((path) => existsSync(path)).map((path) => `file ${path}`),
    ];
  }

  /** Ends what the test has started, as containerd would, and removes the bundles. */
  async finish(): Promise<void> {
    const { shims, bundles } = this;
    [this.shims, this.bundles] = [[], []];
    this.events.before = () => undefined;
    this.events.start();
    for (const shim of shims) await shim.empty();
    for (const shim of shims) await shim.end();
    for (const bundle of bundles) {
      if (!existsSync(bundle.path)) continue;
      await this.delete(bundle);
      rmSync(bundle.path, { recursive: true, force: true });
    }
  }
}

/** A shim as one container's client sees it; in a group several of these share a process. */
export class Shim {
  readonly rig: ShimRig;
  readonly bundle: Bundle;
  readonly id: string;
  readonly address: string;
  readonly client: Client;
  readonly task: TaskClient;
  readonly pid: number;
  readonly runc: RuncOptions | undefined;

  constructor(rig: ShimRig, bundle: Bundle, address: string, client: Client, pid: number, runc?: RuncOptions) {
    this.rig = rig;
    this.bundle = bundle;
    this.id = bundle.id;
    this.address = address;
    this.client = client;
    this.task = new TaskClient(client);
    this.pid = pid;
    this.runc = runc;
  }

  get socket(): string {
    return pathOfAddress(this.address);
  }

  get isAlive(): boolean {
    return isAlive(this.pid);
  }

  /** What Create is asked for this shim's bundle. */
  createRequest(stdio: TaskStdio = {}): containerd.task.v2.CreateTaskRequest.$Properties {
    const { id, bundle, runc } = this;
    const rootfs = bundle.rootfs.map((mount) => ({ ...mount, options: [...mount.options] }));
    return { id, bundle: bundle.path, rootfs, ...(runc === undefined ? {} : { options: runcAny(runc) }), ...stdio };
  }

  /** Creates this shim's container. Answers the pid. */
  async create(stdio: TaskStdio = {}): Promise<number> {
    return await this.task.create(this.createRequest(stdio));
  }

  /** Kills the container and waits for its end. */
  async killInit(): Promise<TaskExit> {
    await this.task.kill(this.id);
    return await this.task.wait(this.id);
  }

  /** Ends the shim's process by a signal and waits until it is gone. */
  async signal(signal: NodeJS.Signals): Promise<void> {
    process.kill(this.pid, signal);
    await this.ended();
  }

  /** Waits for the end of the shim's process. @throws WaitTimeout */
  async ended(timeout = 10_000): Promise<void> {
    await waitFor(`the end of shim ${this.pid}`, () => !this.isAlive, { timeout });
  }

  /** Removes the container, in whatever state it is; nothing happens when the shim is gone. */
  async empty(): Promise<void> {
    if (!this.isAlive || !this.client.isOpen) return;
    const { taskPid } = await this.task.connect(this.id);
    if (taskPid === 0) return;
    await this.task.kill(this.id).catch(() => undefined);
    await this.task.resume(this.id).catch(() => undefined);
    await this.task.wait(this.id);
    await this.task.delete(this.id);
  }

  /** Shuts the shim down, hangs up, and waits for its end when nothing of a group is left. */
  async end(): Promise<void> {
    if (this.isAlive && this.client.isOpen) {
      await this.task.shutdown(this.id).catch(() => undefined);
      this.client.close();
      await this.ended();
    }
    this.client.close();
  }
}

/** Makes a directory for the sockets of one call; short enough for SK-1. */
export function socketDirectory(rig: ShimRig, name: string): string {
  const path = join(dirname(rig.dir), name);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}
