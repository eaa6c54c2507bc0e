/** Responses put together from records that are encoded already. */

import { EncodedMessage } from "./server.ts";

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

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) size++;
  return size;
}
