/** Calls and replies as faults see them: messages instead of bytes. */

import { containerd } from "../../proto/gen/shim.js";
import {
  decodeRequest,
  encodeRequest,
  encodeResponse,
  type RequestParts,
  readFields,
} from "../conformance/rig/wire.ts";
import type { Wire } from "./fault.ts";

const v2 = containerd.task.v2;

/** The messages of each method of the Task service; methods that answer nothing have no answer. */
export const methods = {
  State: { request: v2.StateRequest, answer: v2.StateResponse },
  Create: { request: v2.CreateTaskRequest, answer: v2.CreateTaskResponse },
  Start: { request: v2.StartRequest, answer: v2.StartResponse },
  Delete: { request: v2.DeleteRequest, answer: v2.DeleteResponse },
  Pids: { request: v2.PidsRequest, answer: v2.PidsResponse },
  Pause: { request: v2.PauseRequest, answer: v2.PidsRequest },
  Resume: { request: v2.ResumeRequest, answer: v2.PidsRequest },
  Kill: { request: v2.KillRequest, answer: v2.PidsRequest },
  Exec: { request: v2.ExecProcessRequest, answer: v2.PidsRequest },
  ResizePty: { request: v2.ResizePtyRequest, answer: v2.PidsRequest },
  CloseIO: { request: v2.CloseIORequest, answer: v2.PidsRequest },
  Update: { request: v2.UpdateTaskRequest, answer: v2.PidsRequest },
  Wait: { request: v2.WaitRequest, answer: v2.WaitResponse },
  Stats: { request: v2.StatsRequest, answer: v2.StatsResponse },
  Connect: { request: v2.ConnectRequest, answer: v2.ConnectResponse },
  Checkpoint: { request: v2.CheckpointTaskRequest, answer: v2.PidsRequest },
  Shutdown: { request: v2.ShutdownRequest, answer: v2.PidsRequest },
} as const;

export type Method = keyof typeof methods;
export type RequestOf<M extends Method> = ReturnType<(typeof methods)[M]["request"]["decode"]>;
export type AnswerOf<M extends Method> = ReturnType<(typeof methods)[M]["answer"]["decode"]>;

interface Codec<T> {
  decode(bytes: Uint8Array): T;
  encode(message: T): { finish(): Uint8Array };
}

/** One call on its way to the good shim. */
export class RpcCall {
  readonly wire: Wire;
  readonly stream: number;
  readonly service: string;
  readonly method: string;
  readonly timeoutMs: number | undefined;
  /** As it came, before {@link edit}. */
  readonly payload: Uint8Array;
  /** The envelope that the good shim gets. */
  envelope: Uint8Array;
  readonly #parts: RequestParts;

  /** @throws Error when the bytes are no request */
  constructor(wire: Wire, stream: number, envelope: Uint8Array) {
    this.wire = wire;
    this.stream = stream;
    this.envelope = envelope;
    const timeout = readFields(envelope).find(({ number }) => number === 4)?.value;
    this.timeoutMs = timeout === undefined ? undefined : Number(timeout) / 1e6;
    this.#parts = { ...decodeRequest(envelope), timeoutMs: this.timeoutMs };
    ({ service: this.service, method: this.method, payload: this.payload } = this.#parts);
  }

  /** True for a call of this method of the Task service. */
  is(...names: readonly Method[]): boolean {
    return this.service.endsWith(".Task") && names.some((name) => name === this.method);
  }

  /** @throws Error when the payload is no such message */
  request<M extends Method>(method: M): RequestOf<M> {
    return (methods[method].request as unknown as Codec<RequestOf<M>>).decode(this.payload);
  }

  /** Which process is meant: the container's id, and that of the exec. */
  get target(): string {
    const text = (number: number): string =>
      new TextDecoder().decode(readFields(this.payload).find((field) => field.number === number)?.bytes);
    return `${text(1)}/${text(2)}`;
  }

  /** Changes what the good shim is asked. */
  edit<M extends Method>(method: M, change: (message: RequestOf<M>) => void): void {
    const message = this.request(method);
    change(message);
    const codec = methods[method].request as unknown as Codec<RequestOf<M>>;
    this.envelope = encodeRequest({ ...this.#parts, payload: codec.encode(message).finish() });
  }
}

/** An answer, or the status of a refusal. */
export class Reply {
  readonly code: number;
  readonly message: string;
  readonly payload: Uint8Array;
  /** The envelope that the kit gets. */
  readonly envelope: Uint8Array;

  constructor(payload: Uint8Array, code = 0, message = "", envelope = encodeResponse(payload, code, message)) {
    this.payload = payload;
    this.code = code;
    this.message = message;
    this.envelope = envelope;
  }

  /** @throws Error when the bytes are no response */
  static read(envelope: Uint8Array): Reply {
    const fields = readFields(envelope);
    const bytes = (number: number): Uint8Array =>
      fields.find((field) => field.number === number)?.bytes ?? new Uint8Array();
    const status = readFields(bytes(1));
    const code = Number(status.find(({ number }) => number === 1)?.value ?? 0n);
    const message = new TextDecoder().decode(status.find(({ number }) => number === 2)?.bytes);
    return new Reply(bytes(2), code, message, envelope);
  }

  static refusal(code: number, message = "made up"): Reply {
    return new Reply(new Uint8Array(), code, message);
  }

  /** An answer with these fields. */
  static of<M extends Method>(method: M, fields: Partial<AnswerOf<M>>): Reply {
    const codec = methods[method].answer as unknown as Codec<Partial<AnswerOf<M>>>;
    return new Reply(codec.encode(fields).finish());
  }

  answer<M extends Method>(method: M): AnswerOf<M> {
    return (methods[method].answer as unknown as Codec<AnswerOf<M>>).decode(this.payload);
  }

  /** This answer with some fields changed. */
  edited<M extends Method>(method: M, change: (message: AnswerOf<M>) => void): Reply {
    const message = this.answer(method);
    change(message);
    return Reply.of(method, message as Partial<AnswerOf<M>>);
  }
}
