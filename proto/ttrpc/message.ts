/** The messages of a frame's payload: building whole frames from them, and 64-bit numbers without a library. */

import { Writer } from "protobufjs/minimal.js";
import { ttrpc } from "../gen/ttrpc.js";
import { FrameType, HEADER_SIZE, MAX_PAYLOAD, writeHeader } from "./frame.ts";
import type { KeyValue } from "./metadata.ts";
import { Code, type Status, TtrpcError } from "./status.ts";

/**
 * How a message type is turned into bytes and back. The static classes of protobufjs are codecs as they are; anything
 * with these two functions is.
 */
export interface Codec<Message, Decoded = Message> {
  encode(message: Message): { finish(): Uint8Array };
  decode(bytes: Uint8Array): Decoded;
}

/** A 64-bit number as protobufjs gives it: a number, or an object where the package `long` is installed. */
type Int64 = number | { readonly low: number; readonly high: number };

const NANOS_PER_MS = 1e6;

/** Milliseconds of a request's timeout_nano; undefined when it has none (0). May be negative: already over (TT-6). */
export function timeoutMsOf(nanos: Int64): number | undefined {
  const value = typeof nanos === "number" ? nanos : nanos.high * 0x1_0000_0000 + (nanos.low >>> 0);
  return value === 0 ? undefined : value / NANOS_PER_MS;
}

/** The error of a message that may not be sent or was not taken because of its size (TT-2). */
export function tooLarge(length: number): TtrpcError {
  return new TtrpcError(Code.ResourceExhausted, `message of ${length} bytes exceeds the limit of ${MAX_PAYLOAD} bytes`);
}

/** A writer with room for a frame's header, so that the message is encoded where it is sent from. */
function headed(): Writer {
  return Writer.create().fixed32(0).fixed32(0).uint32(0).uint32(0);
}

/** @throws {TtrpcError} ResourceExhausted when the message is too large for a frame */
function finishFrame(writer: Writer, streamId: number, type: number, flags: number): Uint8Array {
  const length = writer.len - HEADER_SIZE;
  if (length > MAX_PAYLOAD) throw tooLarge(length);
  const frame = writer.finish();
  writeHeader(frame, length, streamId, type, flags);
  return frame;
}

/** What a request frame says. */
export interface RequestParts {
  readonly service: string;
  readonly method: string;
  readonly payload?: Uint8Array | undefined;
  /** Milliseconds that the caller waits; none when undefined. */
  readonly timeoutMs?: number | undefined;
  readonly metadata?: KeyValue[] | undefined;
}

/**
 * The frame of a request (TT-4).
 * @throws {TtrpcError} ResourceExhausted when the request is too large for a frame
 */
export function requestFrame(streamId: number, flags: number, parts: RequestParts): Uint8Array {
  const request: ttrpc.Request.$Properties = { service: parts.service, method: parts.method };
  if (parts.payload !== undefined) request.payload = parts.payload;
  if (parts.timeoutMs !== undefined) request.timeoutNano = Math.max(1, Math.round(parts.timeoutMs * NANOS_PER_MS));
  if (parts.metadata !== undefined) request.metadata = parts.metadata;
  return finishFrame(ttrpc.Request.encode(request, headed()), streamId, FrameType.Request, flags);
}

/**
 * The frame of a successful response. The status is present and empty, since old Go clients refuse a response that has
 * none (ttrpc client.go, "no status provided on response").
 * @throws {TtrpcError} ResourceExhausted when the response is too large for a frame
 */
export function responseFrame(streamId: number, payload: Uint8Array): Uint8Array {
  return finishFrame(ttrpc.Response.encode({ status: {}, payload }, headed()), streamId, FrameType.Response, 0);
}

/** The frame of a failed call. Too large a status loses its details, then the end of its message: it is always sent. */
export function statusFrame(streamId: number, status: Status): Uint8Array {
  const code = status.code;
  const details = status.details?.length ? status.details.map(({ type_url, value }) => ({ type_url, value })) : [];
  try {
    return encodeStatus(streamId, { code, message: status.message, details });
  } catch {
    return encodeStatus(streamId, { code, message: String(status.message).slice(0, 1024) });
  }
}

function encodeStatus(streamId: number, status: NonNullable<ttrpc.Response.$Properties["status"]>): Uint8Array {
  return finishFrame(ttrpc.Response.encode({ status }, headed()), streamId, FrameType.Response, 0);
}

/** A response as the client reads it: the payload, or the error that its status says. */
export function decodeResponse(bytes: Uint8Array): Uint8Array | TtrpcError {
  let response: ttrpc.Response.$Shape;
  try {
    response = ttrpc.Response.decode(bytes);
  } catch (error) {
    return new TtrpcError(Code.Internal, `cannot decode the response: ${messageOf(error)}`, { cause: error });
  }
  const status = response.status;
  if (!status?.code) return response.payload ?? new Uint8Array(0);
  const details = (status.details ?? []).map((any) => ({
    type_url: any.type_url ?? "",
    value: any.value ?? new Uint8Array(0),
  }));
  return new TtrpcError(status.code, status.message ?? "", { details });
}

/** The text of a thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
