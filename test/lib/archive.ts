/** Tar archives made by hand, block by block: every format, and what no honest program writes. */

/** A header block. Texts are bytes: each character is one, 0 to 255. */
export interface HeaderFields {
  name: string;
  /** Type flag; "0", a file, unless told. */
  type?: string;
  mode?: number;
  uid?: number;
  gid?: number;
  /** Length of the content; that of `body` unless told. */
  size?: number;
  body?: Uint8Array | string;
  mtime?: number;
  target?: string;
  major?: number;
  minor?: number;
  uname?: string;
  prefix?: string;
  /** "ustar" unless told. */
  format?: "ustar" | "gnu" | "v7";
  /** Added to the right checksum. */
  wrongBy?: number;
  /** Writes whatever it likes before the checksum is made. */
  edit?: (block: Buffer) => void;
}

const blocks = (length: number): number => Math.ceil(length / 512) * 512;

/** Bytes of a text of bytes. */
export function raw(text: string | Uint8Array): Buffer {
  return typeof text === "string" ? Buffer.from(text, "latin1") : Buffer.from(text);
}

/** One entry: its header, and its content with padding. */
export function entry(fields: HeaderFields): Buffer {
  const body = raw(fields.body ?? "");
  const block = Buffer.alloc(512);
  const put = (text: string, at: number, length: number): void => {
    block.write(text.slice(0, length), at, "latin1");
  };
  put(fields.name, 0, 100);
  number(block, fields.mode ?? 0o644, 100, 8);
  number(block, fields.uid ?? 0, 108, 8);
  number(block, fields.gid ?? 0, 116, 8);
  number(block, fields.size ?? body.length, 124, 12);
  number(block, fields.mtime ?? 0, 136, 12);
  put(fields.type ?? "0", 156, 1);
  put(fields.target ?? "", 157, 100);
  const format = fields.format ?? "ustar";
  if (format !== "v7") {
    put(format === "ustar" ? "ustar\x0000" : "ustar  \0", 257, 8);
    put(fields.uname ?? "", 265, 32);
    number(block, fields.major ?? 0, 329, 8);
    number(block, fields.minor ?? 0, 337, 8);
    put(fields.prefix ?? "", 345, 155);
  }
  fields.edit?.(block);
  block.fill(" ", 148, 156);
  const sum = block.reduce((a, b) => a + b, 0) + (fields.wrongBy ?? 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return Buffer.concat([block, body, Buffer.alloc(blocks(body.length) - body.length)]);
}

/** An extended header that goes before the entry that it is about; `global` for one about all. */
export function pax(
  records: Readonly<Record<string, string>> | readonly (readonly [string, string])[],
  global = false,
): Buffer {
  const pairs = Array.isArray(records) ? records : Object.entries(records);
  const body = pairs.map(([key, value]: readonly [string, string]) => paxRecord(key, value)).join("");
  return entry({ name: "PaxHeaders.0/x", type: global ? "g" : "x", body });
}

/** "LENGTH KEY=VALUE\n", the length counting itself. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}

/** GNU's own way to say a long name, or (K) a long target, of the entry that follows. */
export function long(type: "L" | "K", text: string): Buffer {
  return entry({ name: "././@LongLink", type, body: `${text}\0`, format: "gnu" });
}

/** The parts with the two blocks of zeros that end an archive. */
export function archive(...parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

function number(block: Buffer, value: number, at: number, length: number): void {
  const digits = value.toString(8);
  if (value >= 0 && digits.length < length) {
    block.write(`${digits.padStart(length - 1, "0")}\0`, at, "latin1");
    return;
  }
  // Base 256, two's complement.
  let rest = BigInt(value);
  for (let i = at + length - 1; i >= at; i--) {
    block[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  block[at] = (block[at] ?? 0) | 0x80;
}
