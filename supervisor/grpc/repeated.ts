/** Responses put together from records that are encoded already. */

import { EncodedBatch, EncodedMessage } from "./server.ts";

/** A message whose field `number` has these encoded messages, and no other field: no record is decoded for it. */
export function repeated(number: number, records: readonly Uint8Array[]): EncodedMessage {
  const tag = (number << 3) | 2;
  let size = 0;
  for (const { length } of records) size += 1 + varintSize(length) + length;
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const record of records) {
    bytes[at++] = tag;
    let rest = record.length;
    for (; rest > 127; rest >>>= 7) bytes[at++] = (rest & 127) | 128;
    bytes[at++] = rest;
    bytes.set(record, at);
    at += record.length;
  }
  return new EncodedMessage(bytes);
}

/** Bytes of a stream's messages that are written at once, unless one alone has more. */
const MAX_WRITE = 1 << 20;

/** The messages of a stream, many at a time. */
export function* batched(messages: Iterable<Uint8Array>): Generator<EncodedBatch> {
  let batch: Uint8Array[] = [];
  let size = 0;
  for (const message of messages) {
    if (size > 0 && size + message.length > MAX_WRITE) {
      yield new EncodedBatch(batch);
      batch = [];
      size = 0;
    }
    batch.push(message);
    size += message.length;
  }
  if (batch.length > 0) yield new EncodedBatch(batch);
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) size++;
  return size;
}
