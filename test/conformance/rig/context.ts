/**
 * What a check works with: bundles, a namespace, an event receiver and sockets of its own. All that it makes on the
 * machine carries its token, and {@link Context.close} takes it away, whatever became of the check.
 */

import { appendFileSync, closeSync, existsSync, mkdirSync, readdirSync, readSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { containerd } from "../../../proto/gen/shim.js";
import { holds } from "../assert.ts";
import { Skip, Violation } from "../check.ts";
import { type Bundle, type BundleOptions, makeBundle, makeFifo, processSpec, tokenVariable } from "./bundle.ts";
import { type BinaryAnswer, type BinaryCall, callBinary } from "./call.ts";
import { Connection } from "./connection.ts";
import {
  type Dialect,
  readAnswer,
  type ShimAddress,
  type StartCall,
  socketPath,
  startEnvironment,
  startStdin,
} from "./dialect.ts";
import { EventReceiver } from "./events.ts";
import { FifoReader, type ReaderOptions } from "./fifo.ts";
import { isAlive, sweep } from "./machine.ts";
import {
  type Any,
  type CreateRequest,
  milliseconds,
  runcOptions,
  runcOptionsType,
  type Stdio,
  Task,
  type TaskExit,
} from "./task.ts";
import type { Transcript } from "./transcript.ts";
import { until } from "./wait.ts";

/** The shim under test, and how it is to be driven. */
export interface Subject {
  /** Absolute. */
  readonly shim: string;
  /** The dialect that checks speak which are not about dialects: the oldest that the shim answers. */
  readonly dialect: Dialect;
  /** Why no shim can be started at all. */
  readonly broken?: string | undefined;
  /** Runtime options for `start` and Create; none for a shim that takes none. */
  readonly options?: Any | undefined;
  /** What every container's config.json has beside what a check asks for. */
  readonly annotations: Readonly<Record<string, string>>;
  /** The tree that containers have as their root. */
  readonly rootfs: string;
  /** runc, for what checks do behind the shim's back. */
  readonly runc: string;
  /** Leave bundles and logs. */
  readonly keep: boolean;
}

/** How a shim is started. */
export interface StartOptions {
  readonly dialect?: Dialect;
  readonly debug?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  readonly options?: Any;
  readonly socketDir?: string;
  /** Instead of what the dialect has. */
  readonly stdin?: Uint8Array;
  /** A program, with its arguments, that runs the call given it. */
  readonly through?: readonly string[];
  /** In milliseconds. */
  readonly limit?: number;
}

/** Where containerd's own shim has its sockets (SK-1). */
export const socketRoot = "/run/containerd/s";

/** Where the runtimes have their state that the kit knows, below it a directory for each namespace. */
const runtimeRoots = ["/run/containerd/runc", "/run/containerd/runsc"] as const;

export class Context {
  readonly subject: Subject;
  readonly token: string;
  readonly dir: string;
  readonly namespace: string;
  /** Of a containerd that is not there; the event receiver listens beside it. */
  readonly address: string;
  readonly events: EventReceiver;
  readonly transcript: Transcript;
  readonly #bundles: Bundle[] = [];
  readonly #files = new Set<string>();
  readonly #notes: string;
  readonly #closers: (() => void)[] = [];
  #count = 0;

  /** @param token a word that stands nowhere else on the machine, and is an identifier */
  constructor(subject: Subject, token: string, dir: string, transcript: Transcript) {
    this.subject = subject;
    this.token = token;
    this.namespace = token;
    this.dir = join(dir, token);
    this.transcript = transcript;
    mkdirSync(this.dir, { recursive: true, mode: 0o711 });
    this.address = join(this.dir, "c.sock");
    this.events = new EventReceiver(`${this.address}.ttrpc`, transcript);
    this.events.start();
    this.#notes = join(dir, "files");
    for (const root of runtimeRoots) this.leaves(join(root, token));
  }

  /** Ends the check with a reason why it cannot be made here. */
  skip(reason: string): never {
    throw new Skip(reason);
  }

  /** Tells of a path outside the check's directory that is to be removed, even when the run is killed. */
  leaves(path: string): void {
    if (this.#files.has(path)) return;
    this.#files.add(path);
    appendFileSync(this.#notes, `${path}\n`);
  }

  /** Something to do when the check is over, whatever became of it. */
  defer(close: () => void): void {
    this.#closers.push(close);
  }

  bundle(options: BundleOptions = {}, id = `c${++this.#count}`): Bundle {
    const place = { dir: join(this.dir, "b"), token: this.token };
    const annotations = { ...this.subject.annotations, ...options.annotations };
    const bundle = makeBundle(place, id, { ...options, annotations });
    this.#bundles.push(bundle);
    for (const debug of [false, true]) this.leaves(this.expectedSocket(id, debug));
    return bundle;
  }

  /** What the runtime has of a container: runc a directory, runsc files with the id of the sandbox in their names. */
  runtimeState(id: string): string[] {
    return runtimeRoots
      .map((root) => join(root, this.namespace))
      .filter((dir) => existsSync(dir))
      .flatMap((dir) => readdirSync(dir).map((name) => join(dir, name)))
      .filter((path) => [id, `${id}_sandbox:${id}.state`].includes(basename(path)));
  }

  /** Paths outside the check's directory that it may have made. */
  places(): string[] {
    return [...this.#files];
  }

  /** Removes a bundle whose container is gone, so that many can come and go. @throws Violation when it cannot go */
  forget(bundle: Bundle): void {
    this.closeLog(bundle);
    try {
      rmSync(bundle.path, { recursive: true, force: true });
    } catch (error) {
      throw new Violation(`the bundle ${bundle.path} to be removable`, (error as Error).message);
    }
  }

  /** Ends what containerd does with a shim's log, as its death does: who writes it now gets EPIPE. */
  closeLog(bundle: Bundle): void {
    this.#bundles.splice(this.#bundles.indexOf(bundle), 1);
    closeSync(bundle.log);
  }

  /** The run's runtime options with some of a check's own. @throws Skip when the shim takes others than runc's */
  options(more: containerd.runc.v1.Options.$Properties): Any {
    const { type_url, value } = this.subject.options ?? runcOptions({});
    if (type_url !== runcOptionsType) this.skip(`the shim is given options of the type ${type_url}, not runc's`);
    return runcOptions({ ...containerd.runc.v1.Options.decode(value), ...more });
  }

  /** The socket of a grouping id, by containerd's rule (SK-1). */
  expectedSocket(group: string, debug = false): string {
    const parts = [this.address, this.namespace, group, ...(debug ? ["debug"] : [])];
    return join(socketRoot, new Bun.CryptoHasher("sha256").update(parts.join("/")).digest("hex"));
  }

  /** The `process` of an Exec. */
  process(...args: readonly string[]): Record<string, unknown> {
    return processSpec(args, this.token);
  }

  /** A script as the command of init or of an Exec. */
  script(text: string): string[] {
    return ["sh", "-c", text];
  }

  /**
   * As the command of init: does what it is told and ends with its status, but not before the shim can have begun to
   * wait for that. What becomes of one that ends at once is for the checks that are about it.
   */
  ending(text: string): string[] {
    return this.script(`(${text}); status=$?; sleep 0.3; exit $status`);
  }

  environment(more: Readonly<Record<string, string>> = {}): Record<string, string> {
    const PATH = process.env["PATH"] ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    return { PATH, [tokenVariable]: this.token, ...more };
  }

  /** Any call of the binary, in the check's directory and with a bare environment unless told. */
  async call(argv: readonly string[], more: Partial<BinaryCall> = {}): Promise<BinaryAnswer> {
    const usual = { program: this.subject.shim, cwd: this.dir, env: this.environment() };
    return await callBinary({ ...usual, argv, ...more }, this.transcript);
  }

  /** The flags of a binary call (INV-2). */
  flags(bundle: Bundle, action: "start" | "delete", debug = false): string[] {
    const { address, namespace } = this;
    const common = ["-namespace", namespace, "-address", address, "-publish-binary", "/usr/bin/containerd"];
    const id = ["-id", bundle.id, ...(action === "delete" ? ["-bundle", bundle.path] : [])];
    return [...common, ...id, ...(debug ? ["-debug"] : []), action];
  }

  /** The bare binary call `start`, whatever it answers. */
  async callStart(bundle: Bundle, options: StartOptions = {}): Promise<BinaryAnswer> {
    const { dialect = this.subject.dialect, debug = false, limit } = options;
    const call = this.#startCall(bundle, options);
    const stdin = options.stdin ?? startStdin(dialect, call);
    const env = this.environment({ ...startEnvironment(dialect, call), ...options.env });
    const [program = "", ...argv] = [
      ...(options.through ?? []),
      this.subject.shim,
      ...this.flags(bundle, "start", debug),
    ];
    const binary = { program, argv, cwd: bundle.path, env, stdin };
    return await callBinary({ ...binary, ...(limit === undefined ? {} : { limit }) }, this.transcript);
  }

  #startCall(bundle: Bundle, { debug = false, options, socketDir }: StartOptions): StartCall {
    const { address, namespace } = this;
    const given = options ?? this.subject.options;
    const call = { id: bundle.id, namespace, address, publisher: "/usr/bin/containerd", options: given, debug };
    return socketDir === undefined ? call : { ...call, socketDir };
  }

  /** `start`, as its caller takes the answer. @throws Violation when it fails, or says anything but an address */
  async startCall(bundle: Bundle, options: StartOptions = {}): Promise<ShimAddress> {
    if (this.subject.broken !== undefined) throw new Violation("a shim to start", this.subject.broken);
    const answer = await this.callStart(bundle, options);
    holds("start to end with status 0", answer.exitCode === 0, `status ${answer.exitCode}: ${answer.stderr}`);
    return this.addressOf(answer, options.dialect);
  }

  /** What a start has answered, as its caller takes it. @throws Violation for anything but an address */
  addressOf({ stdout }: BinaryAnswer, dialect = this.subject.dialect): ShimAddress {
    const found = readAnswer(dialect, stdout);
    const path = socketPath(found.address);
    if (path?.startsWith("/")) this.leaves(path);
    return found;
  }

  /** A connection to what `start` answered. */
  async dial(address: string): Promise<Connection> {
    const path = socketPath(address);
    if (path === undefined) this.skip(`the kit cannot dial ${address}`);
    const connection = await Connection.dial(path, this.transcript);
    this.defer(() => connection.close());
    return connection;
  }

  /** Starts a shim and connects to it. */
  async start(bundle: Bundle, options: StartOptions = {}): Promise<Shim> {
    const found = await this.startCall(bundle, options);
    return await this.connect(bundle, found, options);
  }

  /** Connects to a shim that was started. */
  async connect(bundle: Bundle, found: ShimAddress, options: StartOptions = {}): Promise<Shim> {
    if (found.protocol !== "ttrpc") this.skip(`the shim speaks ${found.protocol}: the kit speaks ttrpc alone`);
    const connection = await this.dial(found.address);
    const task = new Task(connection, found.version, this.namespace, this.transcript);
    const { shimPid } = await task.connect(bundle.id);
    return new Shim(this, bundle, found, task, shimPid, options.options ?? this.subject.options);
  }

  /** A shim with a container in it that is created. */
  async create(options: BundleOptions = {}, stdio: Stdio = {}, start: StartOptions = {}): Promise<Shim> {
    const shim = await this.start(this.bundle(options), start);
    await shim.create({ terminal: options.terminal ?? false, ...stdio });
    return shim;
  }

  /** A shim with a container in it that runs. */
  async run(options: BundleOptions = {}, stdio: Stdio = {}, start: StartOptions = {}): Promise<Shim> {
    const shim = await this.create(options, stdio, start);
    await shim.task.start(shim.id);
    return shim;
  }

  /** The binary call `delete` (DL-2). @throws Violation when it fails, or answers no DeleteResponse */
  async delete(bundle: Bundle): Promise<TaskExit & { readonly pid: number; readonly call: BinaryAnswer }> {
    const env = this.environment(startEnvironment(this.subject.dialect, this.#startCall(bundle, {})));
    const program = this.subject.shim;
    const argv = this.flags(bundle, "delete");
    const call = await callBinary({ program, argv, cwd: bundle.path, env }, this.transcript);
    holds("delete to end with status 0", call.exitCode === 0, `status ${call.exitCode}: ${call.stderr}`);
    const expected = "stdout of delete to be a DeleteResponse with a time";
    let answer: containerd.task.v2.DeleteResponse;
    try {
      answer = containerd.task.v2.DeleteResponse.decode(call.stdout);
    } catch (error) {
      throw new Violation(expected, (error as Error).message);
    }
    const { pid, exitStatus } = answer;
    const exitedAt = milliseconds(answer.exitedAt);
    holds(expected, exitedAt > 0, call.stdout);
    return { pid, exitStatus, exitedAt, call };
  }

  /** A new FIFO, open for reading. */
  reader(name: string, options: ReaderOptions = {}): FifoReader {
    const reader = new FifoReader(this.fifo(name), options);
    this.defer(() => reader.close());
    return reader;
  }

  /** Both outputs of a process: the given one, and one for what it says on stderr. */
  outputs(stdout: FifoReader): Stdio {
    return { stdout: stdout.path, stderr: this.reader("err").path };
  }

  /** A new FIFO that nobody has open. */
  fifo(name: string): string {
    const path = join(this.dir, `${name}${++this.#count}`);
    makeFifo(path);
    return path;
  }

  /** The last lines that shims wrote into their logs. */
  log(): string[] {
    const buffer = new Uint8Array(1 << 16);
    return this.#bundles.flatMap(({ log }) => {
      try {
        const text = new TextDecoder().decode(buffer.subarray(0, readSync(log, buffer)));
        return text.trimEnd().split("\n").slice(-5);
      } catch {
        return [];
      }
    });
  }

  /** Ends and removes all that the check has made. @returns what was still there, for a person */
  close(): string[] {
    for (const close of this.#closers.reverse()) {
      try {
        close();
      } catch (error) {
        this.transcript.add("note", `cleaning up: ${(error as Error).message}`);
      }
    }
    this.#closers.length = 0;
    this.events.stop();
    const files = this.subject.keep ? this.#files : [...this.#files, this.dir];
    const found = sweep(this.token, files);
    for (const { log } of this.#bundles) closeSync(log);
    this.#bundles.length = 0;
    return found;
  }
}

/** A shim as one container's client sees it; in a group several of these share a process. */
export class Shim {
  readonly bundle: Bundle;
  readonly id: string;
  readonly found: ShimAddress;
  readonly task: Task;
  readonly pid: number;
  readonly #context: Context;
  readonly #options: Any | undefined;

  constructor(context: Context, bundle: Bundle, found: ShimAddress, task: Task, pid: number, options: Any | undefined) {
    this.#context = context;
    this.bundle = bundle;
    this.id = bundle.id;
    this.found = found;
    this.task = task;
    this.pid = pid;
    this.#options = options;
  }

  /** Path of the socket. */
  get socket(): string {
    return socketPath(this.found.address) ?? "";
  }

  get isAlive(): boolean {
    return isAlive(this.pid);
  }

  /** What Create is asked for this shim's bundle. */
  createRequest(stdio: Stdio = {}): CreateRequest {
    const rootfs = [{ type: "bind", source: this.#context.subject.rootfs, options: ["rbind", "rw"] }];
    const options = this.#options === undefined ? {} : { options: this.#options };
    return { id: this.id, bundle: this.bundle.path, rootfs, ...options, ...stdio };
  }

  /** Answers the pid. */
  async create(stdio: Stdio = {}): Promise<number> {
    return await this.task.create(this.createRequest(stdio));
  }

  /** Runs a process beside init and waits until it has been started. Answers the pid. */
  async exec(execId: string, args: readonly string[], stdio: Stdio = {}): Promise<number> {
    await this.task.exec(this.id, execId, this.#context.process(...args), stdio);
    return await this.task.start(this.id, execId);
  }

  /** Kills init and waits for its end. */
  async kill(signal = 9): Promise<TaskExit> {
    await this.task.kill(this.id, signal);
    return await this.task.wait(this.id);
  }

  /** Ends the shim's process by SIGKILL and waits until it is gone. */
  async crash(): Promise<void> {
    process.kill(this.pid, "SIGKILL");
    await this.ended();
  }

  /** Waits for the end of the shim's process. @throws Violation */
  async ended(timeout = 10_000): Promise<void> {
    const received = (): string => `process ${this.pid} was still there`;
    await until("the shim's process to end", () => !this.isAlive, { timeout, received });
  }

  /** True while the socket's file is there. */
  get hasSocket(): boolean {
    return existsSync(this.socket);
  }

  /** Deletes the container, shuts the shim down and waits for its end, as containerd does when a task is over. */
  async finish(): Promise<void> {
    await this.task.delete(this.id);
    await this.task.shutdown(this.id).catch(() => undefined);
    this.task.connection.close();
    await this.ended();
  }

  /** Removes the bundle, as containerd does in the end. */
  removeBundle(): void {
    rmSync(this.bundle.path, { recursive: true, force: true });
  }
}
