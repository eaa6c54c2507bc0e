/** A shim as the daemon sees it: one connection, and the Task service over it. */

import { existsSync } from "node:fs";
import { deadlines } from "../../proto/deadlines.ts";
import { ContainerdError, messageOf, unknown } from "../../proto/errdefs.ts";
import { containerd, google } from "../../proto/gen/supervisor.js";
import type { Client } from "../../proto/ttrpc/client.ts";
import { Code, TtrpcError } from "../../proto/ttrpc/status.ts";
import { connect } from "../../shim/linux/index.ts";
import { type Endpoint, socketName } from "./endpoint.ts";

const v2 = containerd.task.v2;
const { Empty } = google.protobuf;

/** Methods of the Task service: their messages, and how long an answer may take; 0 for ever. */
const methods = {
  State: [v2.StateRequest, v2.StateResponse, deadlines.taskState],
  Create: [v2.CreateTaskRequest, v2.CreateTaskResponse, deadlines.taskStart],
  Start: [v2.StartRequest, v2.StartResponse, deadlines.taskStart],
  Delete: [v2.DeleteRequest, v2.DeleteResponse, deadlines.taskCall],
  Pids: [v2.PidsRequest, v2.PidsResponse, deadlines.taskCall],
  Pause: [v2.PauseRequest, Empty, deadlines.taskCall],
  Resume: [v2.ResumeRequest, Empty, deadlines.taskCall],
  Checkpoint: [v2.CheckpointTaskRequest, Empty, deadlines.taskStart],
  Kill: [v2.KillRequest, Empty, deadlines.taskCall],
  Exec: [v2.ExecProcessRequest, Empty, deadlines.taskStart],
  ResizePty: [v2.ResizePtyRequest, Empty, deadlines.taskCall],
  CloseIO: [v2.CloseIORequest, Empty, deadlines.taskCall],
  Update: [v2.UpdateTaskRequest, Empty, deadlines.taskCall],
  Wait: [v2.WaitRequest, v2.WaitResponse, 0],
  Stats: [v2.StatsRequest, v2.StatsResponse, deadlines.taskCall],
  Connect: [v2.ConnectRequest, v2.ConnectResponse, deadlines.shimLoad],
  Shutdown: [v2.ShutdownRequest, Empty, deadlines.shimShutdown],
} as const;

type Methods = typeof methods;
type Encoder<T> = { encode(message: T): { finish(): Uint8Array } };
type Decoder<T> = { decode(bytes: Uint8Array): T };
/** What a method is given. */
type Request<M extends keyof Methods> = Methods[M][0] extends { encode(message: infer Q): unknown } ? Q : never;
/** What it answers. */
type Response<M extends keyof Methods> = Methods[M][1] extends Decoder<infer R> ? R : never;

/** A call could not be answered, because the connection is closed. */
export class ShimClosedError extends ContainerdError {
  constructor(cause?: unknown) {
    super(Code.Unknown, "ttrpc: closed", { cause });
  }
}

/** A connection to a shim. */
export class Shim {
  readonly endpoint: Endpoint;
  readonly #client: Client;
  readonly #metadata: Readonly<Record<string, string>>;
  /** Our own shim, whose errors are known. */
  readonly #isOwn: boolean;
  #service: string;

  private constructor(endpoint: Endpoint, client: Client, namespace: string, isOwn: boolean) {
    this.endpoint = endpoint;
    this.#isOwn = isOwn;
    this.#client = client;
    this.#metadata = { "containerd-namespace-ttrpc": namespace };
    this.#service = endpoint.version >= 3 ? "containerd.task.v3.Task" : "containerd.task.v2.Task";
  }

  /** @throws ContainerdError Unknown when nobody answers there */
  static async connect(endpoint: Endpoint, namespace: string, isOwn: boolean): Promise<Shim> {
    if (endpoint.protocol !== "ttrpc") throw unknown(`unexpected protocol: ${JSON.stringify(endpoint.protocol)}`);
    const name = socketName(endpoint.address);
    try {
      return new Shim(endpoint, await connect(name, deadlines.shimDial), namespace, isOwn);
    } catch (error) {
      throw unknown(`failed to create TTRPC connection: ${refusal(name, error)}`, error);
    }
  }

  get isOpen(): boolean {
    return this.#client.isOpen;
  }

  /** Resolves when the connection is closed by either side. */
  get closed(): Promise<unknown> {
    return this.#client.closed;
  }

  close(): void {
    this.#client.close();
  }

  /**
   * Calls the Task service.
   * @throws ShimClosedError; ContainerdError with what the shim answered, or DeadlineExceeded
   */
  async call<M extends keyof Methods>(method: M, request: Request<M>, signal?: AbortSignal): Promise<Response<M>> {
    const [codec, answer, timeoutMs] = methods[method];
    const attempt = () =>
      this.#call(
        this.#service,
        method,
        codec as Encoder<Request<M>>,
        answer as unknown as Decoder<Response<M>>,
        request,
        {
          ...(timeoutMs === 0 ? {} : { timeoutMs }),
          ...(signal === undefined ? {} : { signal }),
        },
      );
    try {
      return await attempt();
    } catch (error) {
      // A shim of version 3 may have the service of version 2 alone (TT-5).
      const isMissing = error instanceof ContainerdError && error.code === Code.Unimplemented;
      if (!isMissing || this.#service !== "containerd.task.v3.Task" || !error.message.startsWith("service "))
        throw error;
      this.#service = "containerd.task.v2.Task";
      return attempt();
    }
  }

  /** Calls another service of the shim. @throws as {@link call} */
  async callService<Q, R>(
    service: string,
    method: string,
    request: Encoder<Q>,
    response: Decoder<R>,
    message: Q,
    options: { timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<R> {
    return this.#call(service, method, request, response, message, options);
  }

  async #call<Q, R>(
    service: string,
    method: string,
    request: Encoder<Q>,
    response: Decoder<R>,
    message: Q,
    options: { timeoutMs?: number; signal?: AbortSignal },
  ): Promise<R> {
    try {
      return await this.#client.call(service, method, request, response, message, {
        ...options,
        metadata: this.#metadata,
      });
    } catch (error) {
      if (!this.#client.isOpen && (!(error instanceof TtrpcError) || error.code === Code.Unavailable)) {
        throw new ShimClosedError(error);
      }
      throw translate(error, this.#isOwn, method);
    }
  }
}

/** Endings that containerd's classes of errors have. */
const suffixes = new Map<number, string>([
  [Code.InvalidArgument, "invalid argument"],
  [Code.NotFound, "not found"],
  [Code.AlreadyExists, "already exists"],
  [Code.FailedPrecondition, "failed precondition"],
]);
/** What containerd's shim calls a failed precondition; all else that a state forbids has no class there. */
const preconditions = /^(?:process not created|container \S+ init process is not running)/;
/** Our shim's words where containerd's has others. */
const words: readonly (readonly [method: string, ours: RegExp, theirs: string])[] = [
  ["Exec", /^container \S+ init process is not running$/, "cannot exec in a stopped state"],
  ["Kill", /^process already finished: container \S+$/, "process already finished"],
];

/**
 * A shim's error as clients see it: its own words. Those of our shim get the class that containerd's shim gives them, and
 * end in it: ours says more by its codes than clients of containerd expect.
 */
function translate(error: unknown, isOwn: boolean, method: string): ContainerdError {
  if (!(error instanceof TtrpcError)) return unknown(messageOf(error), error);
  if (!isOwn) return new ContainerdError(error.code as Code, error.message, { cause: error });
  const text = words.find(([of, ours]) => of === method && ours.test(error.message))?.[2] ?? error.message;
  const hasNoClass =
    error.code === Code.FailedPrecondition
      ? !preconditions.test(text)
      : method === "Create" && (error.code === Code.NotFound || error.code === Code.PermissionDenied);
  if (hasNoClass) return unknown(text, error);
  const suffix = suffixes.get(error.code);
  const message = suffix === undefined || text.endsWith(suffix) ? text : `${text}: ${suffix}`;
  return new ContainerdError(error.code as Code, message, { cause: error });
}

/** Why nobody could be reached, in the words of Go's net package. */
function refusal(name: string, error: unknown): string {
  if (messageOf(error).includes("no answer")) return messageOf(error);
  const reason = name === "\0" || existsSync(name) ? "connection refused" : "no such file or directory";
  return `dial unix ${name === "\0" ? " " : name}: connect: ${reason}`;
}
