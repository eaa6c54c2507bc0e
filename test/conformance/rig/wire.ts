/**
 * ttrpc by hand (contract 1.7): frames, and the two envelopes of a unary call, made and read byte by byte. The kit has
 * its own, so that a mistake of proto/ttrpc cannot hide on both sides of a socket.
 */

/** Types of a frame. */
export const frameType = { request: 1, response: 2, data: 3 } as const;
export const headerSize = 10;
/** Largest payload that a receiver takes (TT-2). */
export const maxPayload = 4 << 20;

/** One frame. */
export interface Frame {
  readonly stream: number;
  readonly type: number;
  readonly flags: number;
  readonly payload: Uint8Array;
}

/** Names of the status codes, by number. */
export const codeNames = [
  "OK",
  "Canceled",
  "Unknown",
  "InvalidArgument",
  "DeadlineExceeded",
  "NotFound",
  "AlreadyExists",
  "PermissionDenied",
  "ResourceExhausted",
  "FailedPrecondition",
  "Aborted",
  "OutOfRange",
  "Unimplemented",
  "Internal",
  "Unavailable",
  "DataLoss",
  "Unauthenticated",
];

/** A call was answered with a status that is not OK. */
export class StatusError extends Error {
  override readonly name = "StatusError";
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** A header: length, stream, type, flags; big endian. */
export function header(length: number, stream: number, type: number, flags = 0): Uint8Array {
  const bytes = new Uint8Array(headerSize);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length);
  view.setUint32(4, stream);
  bytes[8] = type;
  bytes[9] = flags;
  return bytes;
}

export function frame(stream: number, type: number, payload: Uint8Array, flags = 0): Uint8Array {
  return concat(header(payload.length, stream, type, flags), payload);
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  #rest: Uint8Array = new Uint8Array();

  /** The frames that are whole now. @throws Error for a length that no peer may send */
  push(bytes: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    let all = this.#rest.length === 0 ? new Uint8Array(bytes) : concat(this.#rest, bytes);
    while (all.length >= headerSize) {
      const view = new DataView(all.buffer, all.byteOffset);
      const length = view.getUint32(0);
      if (length > maxPayload) throw new Error(`a frame announces ${length} bytes: more than ${maxPayload}`);
      if (all.length < headerSize + length) break;
      const payload = all.slice(headerSize, headerSize + length);
      frames.push({ stream: view.getUint32(4), type: all[8] ?? 0, flags: all[9] ?? 0, payload });
      all = all.subarray(headerSize + length);
    }
    this.#rest = all;
    return frames;
  }
}

/** A field as protobuf has it on the wire. */
export interface Field {
  readonly number: number;
  /** Wire types 0, 1 and 5. */
  readonly value: bigint;
  /** Wire type 2. */
  readonly bytes: Uint8Array;
}

function varint(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return bytes;
}

/** A field of wire type 2. */
export function bytesField(number: number, value: Uint8Array | string): Uint8Array {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  return concat(new Uint8Array([...varint(BigInt((number << 3) | 2)), ...varint(BigInt(bytes.length))]), bytes);
}

/** A field of wire type 0. */
export function varintField(number: number, value: bigint | number): Uint8Array {
  return new Uint8Array([...varint(BigInt(number << 3)), ...varint(BigInt(value))]);
}

/** The fields of a message, in order. @throws Error when the bytes are no message */
export function readFields(bytes: Uint8Array): Field[] {
  const fields: Field[] = [];
  const none = new Uint8Array();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const integer = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error("the message ends within an integer");
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    throw new Error("an integer has more than ten bytes");
  };
  const take = (length: number): Uint8Array => {
    if (at + length > bytes.length) throw new Error("the message ends within a field");
    at += length;
    return bytes.slice(at - length, at);
  };
  while (at < bytes.length) {
    const key = integer();
    const number = Number(key >> 3n);
    const type = Number(key & 7n);
    if (number === 0) throw new Error("a field has the number 0");
    if (type === 0) fields.push({ number, value: integer(), bytes: none });
    else if (type === 2) fields.push({ number, value: 0n, bytes: take(Number(integer())) });
    else if (type === 1) fields.push({ number, value: view.getBigUint64(at, true), bytes: take(8) });
    else if (type === 5) fields.push({ number, value: BigInt(view.getUint32(at, true)), bytes: take(4) });
    else throw new Error(`a field has the wire type ${type}`);
  }
  return fields;
}

/** A unary call (TT-4). */
export interface RequestParts {
  readonly service: string;
  readonly method: string;
  readonly payload: Uint8Array;
  readonly timeoutMs?: number | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

/** The envelope of a request: service 1, method 2, payload 3, timeout_nano 4, metadata 5. */
export function encodeRequest(parts: RequestParts): Uint8Array {
  const { service, method, payload, timeoutMs, metadata = {} } = parts;
  return concat(
    bytesField(1, service),
    bytesField(2, method),
    bytesField(3, payload),
    ...(timeoutMs === undefined ? [] : [varintField(4, BigInt(Math.round(timeoutMs * 1e6)))]),
    ...Object.entries(metadata).map(([key, value]) => bytesField(5, concat(bytesField(1, key), bytesField(2, value)))),
  );
}

/** The parts of a request that came. */
export function decodeRequest(bytes: Uint8Array): RequestParts {
  const text = new TextDecoder();
  const parts = { service: "", method: "", payload: new Uint8Array(), metadata: {} as Record<string, string> };
  for (const field of readFields(bytes)) {
    if (field.number === 1) parts.service = text.decode(field.bytes);
    else if (field.number === 2) parts.method = text.decode(field.bytes);
    else if (field.number === 3) parts.payload = field.bytes as Uint8Array<ArrayBuffer>;
    else if (field.number === 5) {
      const pair = readFields(field.bytes);
      const part = (number: number): string => text.decode(pair.find((inner) => inner.number === number)?.bytes);
      parts.metadata[part(1)] = part(2);
    }
  }
  return parts;
}

/** The envelope of a response: status 1 {code 1, message 2}, payload 2. */
export function encodeResponse(payload: Uint8Array, code = 0, message = ""): Uint8Array {
  const status = code === 0 ? [] : [bytesField(1, concat(varintField(1, code), bytesField(2, message)))];
  return concat(...status, bytesField(2, payload));
}

/** The payload of a response. @throws StatusError for one that says so; Error when it is no response */
export function decodeResponse(bytes: Uint8Array): Uint8Array {
  const fields = readFields(bytes);
  const status = readFields(fields.find(({ number }) => number === 1)?.bytes ?? new Uint8Array());
  const code = Number(status.find(({ number }) => number === 1)?.value ?? 0n);
  if (code !== 0) throw new StatusError(code, new TextDecoder().decode(status.find((f) => f.number === 2)?.bytes));
  return fields.find(({ number }) => number === 2)?.bytes ?? new Uint8Array();
}
