/** One shim driven as containerd drives it: the binary calls `start` and `delete`, and the Task service between them. */

import { rmSync } from "node:fs";
import { join } from "node:path";
import { containerd } from "../../../proto/gen/shim.js";
import { jsonTypes, packAny } from "../../../proto/typeurl.ts";
import { makeBundle, processSpec, type RootfsMount } from "./bundle.ts";
import { Connection } from "./connection.ts";
import { HeldFifo } from "./fifo.ts";
import type { Rig, Runtime } from "./rig.ts";

const messages = containerd.task.v2;
const service = "containerd.task.v2.Task";

/** Where a process reads and writes; all empty is /dev/null. */
export interface Stdio {
  readonly stdin?: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly terminal?: boolean;
}

/** A shim with its bundle and connection. */
export class Shim {
  readonly id: string;
  readonly bundle: string;
  readonly runtime: Runtime;
  /** FIFOs for the container's stdout and stderr, held open; used by Create unless others are given. */
  readonly stdio: Stdio;
  readonly #rig: Rig;
  readonly #mounts: RootfsMount[];
  readonly #fifos: HeldFifo[];
  readonly #execFifos = new Map<string, HeldFifo[]>();
  #log = "";
  #connection: Connection | undefined;
  #pid = 0;

  /** Makes the bundle of a container that runs `args`; nothing is started yet. */
  constructor(rig: Rig, runtime: Runtime, id: string, args: readonly string[]) {
    this.id = id;
    this.runtime = runtime;
    this.#rig = rig;
    rig.register(id);
    this.bundle = join(rig.bundles, id);
    this.#mounts = makeBundle(this.bundle, rig.rootfs, args, `/${rig.namespace}/${id}`);
    this.stdio = { stdout: join(this.bundle, "stdout"), stderr: join(this.bundle, "stderr") };
    this.#fifos = ["log", "stdout", "stderr"].map((name) => new HeldFifo(join(this.bundle, name)));
  }

  /**
   * The binary call `start`, and a connection.
   *
   * @returns the seconds from the start of the binary to the answer of the first Connect
   */
  async start(): Promise<number> {
    const begin = performance.now();
    const stdout = await this.#binary([], "start");
    const answer = new TextDecoder().decode(stdout).trim();
    const address = answer.startsWith("{") ? String(JSON.parse(answer).address) : answer;
    this.#connection = await Connection.dial(address);
    await this.connect();
    return (performance.now() - begin) / 1000;
  }

  /** The pid of the serving process, as it said itself; 0 before start. */
  get pid(): number {
    return this.#pid;
  }

  /** The call Connect. */
  async connect(): Promise<void> {
    const answer = await this.#call("Connect", messages.ConnectRequest.encode({ id: this.id }));
    this.#pid = messages.ConnectResponse.decode(answer).shimPid;
  }

  /** The call Create; returns the pid of the container's init. */
  async create(stdio: Stdio = this.stdio): Promise<number> {
    const request = { ...stdio, id: this.id, bundle: this.bundle, rootfs: this.#mounts };
    return messages.CreateTaskResponse.decode(await this.#call("Create", messages.CreateTaskRequest.encode(request)))
      .pid;
  }

  /** The call Start, of the container or of an exec. */
  async startProcess(execId = ""): Promise<void> {
    await this.#call("Start", messages.StartRequest.encode({ id: this.id, execId }));
  }

  /** The call Wait; returns the exit status. Waits as long as it takes. */
  wait(execId = ""): Promise<number> {
    const answer = this.#call("Wait", messages.WaitRequest.encode({ id: this.id, execId }), 0);
    const status = answer.then((bytes) => messages.WaitResponse.decode(bytes).exitStatus);
    // Callers begin to wait before they start the process: when that fails, nobody asks for this answer any more.
    status.catch(() => undefined);
    return status;
  }

  /** The call Kill with SIGKILL, on the container or on an exec. */
  async kill(execId = ""): Promise<void> {
    await this.#call("Kill", messages.KillRequest.encode({ id: this.id, execId, signal: 9 }));
  }

  /** The call Delete. */
  async deleteProcess(execId = ""): Promise<void> {
    await this.#call("Delete", messages.DeleteRequest.encode({ id: this.id, execId }));
    for (const fifo of this.#execFifos.get(execId) ?? []) {
      fifo.remove();
    }
    this.#execFifos.delete(execId);
  }

  /** The call Exec; unless stdio is given, with FIFOs of its own as clients make them, until it is deleted. */
  async exec(execId: string, args: readonly string[], given?: Stdio): Promise<void> {
    const stdio = given ?? { stdout: join(this.bundle, `${execId}-out`), stderr: join(this.bundle, `${execId}-err`) };
    if (given === undefined) {
      const paths = [stdio.stdout, stdio.stderr].filter((path) => path !== undefined);
      this.#execFifos.set(
        execId,
        paths.map((path) => new HeldFifo(path)),
      );
    }
    const value = new TextEncoder().encode(JSON.stringify(processSpec(args, stdio.terminal)));
    const spec = packAny(jsonTypes.process, value);
    await this.#call("Exec", messages.ExecProcessRequest.encode({ ...stdio, id: this.id, execId, spec }));
  }

  /** The call Stats. */
  async stats(): Promise<void> {
    await this.#call("Stats", messages.StatsRequest.encode({ id: this.id }));
  }

  /** One exec of `true` from Exec to Delete. @throws Error when it does not exit with 0 */
  async execTrue(execId: string): Promise<void> {
    await this.exec(execId, ["true"]);
    const exited = this.wait(execId);
    await this.startProcess(execId);
    const status = await exited;
    if (status !== 0) {
      throw new Error(`${this.runtime.name}: exec of true exited with ${status}`);
    }
    await this.deleteProcess(execId);
  }

  /** Start, Create and Start: from nothing to a running container. */
  async launch(): Promise<void> {
    await this.start();
    await this.create();
    await this.startProcess();
  }

  /** Ends a running container and its shim, and takes the bundle away. */
  async end(): Promise<void> {
    const exited = this.wait();
    await this.kill();
    await exited;
    await this.deleteProcess();
    await this.shutdown();
    await this.delete();
    this.remove();
  }

  /** The call Shutdown, then until the shim hangs up, as containerd does before `delete`. */
  async shutdown(): Promise<void> {
    const connection = this.#open();
    // A shim may end before its answer is through.
    await this.#call("Shutdown", messages.ShutdownRequest.encode({ id: this.id })).catch(() => undefined);
    const limit = Bun.sleep(5_000).then(() => {
      throw new Error(`${this.runtime.name}: the shim did not end in 5 s after Shutdown`);
    });
    await Promise.race([connection.closed, limit]);
    limit.catch(() => undefined);
  }

  /** Kills the shim with SIGKILL and waits until its connection is gone. */
  async crash(): Promise<void> {
    const connection = this.#open();
    process.kill(this.pid, "SIGKILL");
    await connection.closed;
  }

  /** The binary call `delete`; returns its seconds. @throws Error when its answer is not a DeleteResponse */
  async delete(): Promise<number> {
    const begin = performance.now();
    const answer = await this.#binary(["-bundle", this.bundle], "delete");
    const seconds = (performance.now() - begin) / 1000;
    messages.DeleteResponse.decode(answer);
    return seconds;
  }

  /** Takes the bundle away, and the socket of a shim that could not. */
  remove(): void {
    this.#connection?.close();
    for (const fifo of this.#fifos) {
      fifo.close();
    }
    rmSync(this.bundle, { recursive: true, force: true });
    rmSync(this.#rig.daemon.socketPath(this.id), { force: true });
  }

  /** What the shim logged. */
  log(): string {
    this.#log += this.#fifos[0]?.drain() ?? "";
    return this.#log;
  }

  #open(): Connection {
    if (this.#connection === undefined) {
      throw new Error("the shim was not started");
    }
    return this.#connection;
  }

  async #call(method: string, request: { finish(): Uint8Array }, limit?: number): Promise<Uint8Array> {
    try {
      return await this.#open().call(service, method, request.finish(), limit);
    } catch (error) {
      throw new Error(`${this.runtime.name}: ${error}\n${this.log().slice(-1000)}`, { cause: error });
    }
  }

  async #binary(flags: readonly string[], action: "start" | "delete"): Promise<Uint8Array> {
    const { namespace, daemon, env } = this.#rig;
    const common = ["-namespace", namespace, "-address", daemon.address, "-publish-binary", "/usr/bin/containerd"];
    const child = Bun.spawn([this.runtime.path, ...common, "-id", this.id, ...flags, action], {
      cwd: this.bundle,
      env,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: 30_000,
    });
    const [stdout, stderr, code] = await Promise.all([child.stdout.bytes(), child.stderr.text(), child.exited]);
    if (code !== 0) {
      throw new Error(
        `${this.runtime.name} ${action}: ${child.signalCode ?? `exit code ${code}`}: ${stderr}\n${this.log().slice(-1000)}`,
      );
    }
    return stdout;
  }
}
