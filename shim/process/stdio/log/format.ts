/**
 * The formats of entries. Each entry ends with a newline and holds no other, so that a file can be cut between entries
 * without knowing its format.
 *
 * The work is done on the text of all lines at once, by functions of the engine: a loop over bytes or lines of ours would
 * be slower than the container, above all before it is compiled.
 */

import type { LogFormat } from "./settings.ts";

/** The stream of an entry. */
export type StreamName = "stdout" | "stderr";

/** How one format spells entries. What a function answers is valid until the next is called. */
export interface Encoding {
  /** Entries of whole lines, which end with a newline. */
  lines(bytes: Uint8Array, stream: StreamName, time: string): Uint8Array;
  /** An entry of a part of a line. */
  piece(bytes: Uint8Array, stream: StreamName, time: string): Uint8Array;
  /** How many bytes of output whole entries stand for. */
  payload(entries: Uint8Array): number;
}

const encoder = new TextEncoder();
// Bytes that are no UTF-8 become U+FFFD, as docker writes them; a mark of byte order is a character like others.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const strictDecoder = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });
const NEWLINE = 10;

/** Large memory that is new each time costs more than all the work: the shim's allocator gives it back at once. */
const scratch = new Uint8Array(256 << 10);

function encode(text: string): Uint8Array {
  const { read, written } = encoder.encodeInto(text, scratch);
  return read === text.length ? scratch.subarray(0, written) : encoder.encode(text);
}

/** What JSON spells otherwise, but for the newline. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const special = /["\\\x00-\x09\x0b-\x1f]/;

/** docker's json-file: `{"log":"text\n","stream":"stdout","time":"…"}`; the log of a part has no newline. */
const json: Encoding = {
  lines(bytes, stream, time) {
    const text = decoder.decode(bytes.subarray(0, -1));
    const end = `\\n","stream":"${stream}","time":"${time}"}\n`;
    return encode(`{"log":"${withoutNewlines(text, `${end}{"log":"`)}${end}`);
  },
  piece(bytes, stream, time) {
    const log = JSON.stringify(decoder.decode(bytes));
    return encode(`{"log":${log},"stream":"${stream}","time":"${time}"}\n`);
  },
  payload(entries) {
    let sum = 0;
    for (const line of decoder.decode(entries).split("\n")) {
      if (line !== "") sum += encoder.encode((JSON.parse(line) as { log: string }).log).length;
    }
    return sum;
  },
};

/** The text as inside of a JSON string, with each newline replaced; `glue` holds no `$`, which would mean something. */
function withoutNewlines(text: string, glue: string): string {
  if (!special.test(text)) return text.replaceAll("\n", glue);
  // Where the text has no backslash, each `\n` that JSON writes is a newline.
  if (!text.includes("\\")) return JSON.stringify(text).slice(1, -1).replaceAll("\\n", glue);
  return text
    .split("\n")
    .map((line) => JSON.stringify(line).slice(1, -1))
    .join(glue);
}

/** Kubernetes' CRI: `time stream F text`, with P for a part. Bytes that are no UTF-8 stay as they are. */
const cri: Encoding = {
  lines(bytes, stream, time) {
    const prefix = `${time} ${stream} F `;
    let text: string;
    try {
      text = strictDecoder.decode(bytes.subarray(0, -1));
    } catch {
      return criOfBytes(bytes, encoder.encode(prefix));
    }
    return encode(`${prefix}${text.replaceAll("\n", `\n${prefix}`)}\n`);
  },
  piece(bytes, stream, time) {
    const prefix = encoder.encode(`${time} ${stream} P `);
    const entry = new Uint8Array(prefix.length + bytes.length + 1);
    entry.set(prefix);
    entry.set(bytes, prefix.length);
    entry[entry.length - 1] = NEWLINE;
    return entry;
  },
  payload(entries) {
    let sum = 0;
    for (let at = 0; at < entries.length; ) {
      const end = entries.indexOf(NEWLINE, at) + 1;
      const text = at + PREFIX_BYTES;
      sum += end - text - (entries[text - 2] === FULL ? 0 : 1);
      at = end;
    }
    return sum;
  },
};

const PREFIX_BYTES = "2006-01-02T15:04:05.999999999Z stdout F ".length;
const FULL = "F".charCodeAt(0);

function criOfBytes(bytes: Uint8Array, prefix: Uint8Array): Uint8Array {
  let count = 0;
  for (let at = 0; at < bytes.length; at = bytes.indexOf(NEWLINE, at) + 1) count++;
  const entries = new Uint8Array(bytes.length + count * prefix.length);
  for (let at = 0, to = 0; at < bytes.length; ) {
    const line = bytes.subarray(at, bytes.indexOf(NEWLINE, at) + 1);
    entries.set(prefix, to);
    entries.set(line, to + prefix.length);
    to += prefix.length + line.length;
    at += line.length;
  }
  return entries;
}

/** The bytes as they are. */
const raw: Encoding = {
  lines: (bytes) => bytes,
  piece: (bytes) => bytes,
  payload: (entries) => entries.length,
};

/** The formats by their names. */
export const encodings: Readonly<Record<LogFormat, Encoding>> = { json, cri, raw };
