/**
 * Encodes and decodes messages from rows of data. pbjs writes three functions for every message, and a process pays for
 * each in memory and at load whether it is called or not; a row is a string and a few numbers, read at first use. What
 * comes out is what pbjs' static code gives, which test/fuzz/codec.test.ts holds against it.
 */

import { Reader, util, Writer } from "protobufjs/minimal.js";

/**
 * Names of protobufjs' methods for a field type, by its code in a row. The order is part of the rows: 1 and 2 have a
 * length, 6 to 10 have 64 bits. Enums are int32.
 */
export const types = [
  "message",
  "string",
  "bytes",
  "bool",
  "double",
  "float",
  "int64",
  "uint64",
  "sint64",
  "fixed64",
  "sfixed64",
  "int32",
  "uint32",
  "sint32",
  "fixed32",
  "sfixed32",
] as const;
const wireTypes = [2, 2, 2, 0, 1, 5, 0, 0, 0, 1, 1, 0, 0, 0, 5, 5];
const MESSAGE = 0;
const STRING = 1;
const BYTES = 2;
const BOOL = 3;
const FLOAT = 5;
const UINT64 = 7;
const FIXED64 = 9;
const SFIXED64 = 10;
/** Where encode finds unknown fields, and decode keeps them for a reader that does not discard them. */
const UNKNOWNS = "$unknowns";
/** Wire type of what starts with its length. */
const DELIMITED = 2;

/** How often a field may be there, in a row. A map is one of string to string, or of string to message. */
export const labels = { singular: 0, optional: 1, repeated: 2, packed: 3, map: 4 } as const;

/** The two numbers that a row has for a field: its number, and type + 16 * label + 128 * index of the message type. */
export type Row = readonly number[];

interface Field {
  readonly name: string;
  /** Number and wire type as they stand before a value; a packed field's are those of the whole. */
  readonly tag: number;
  readonly type: number;
  readonly label: number;
  /** The type of a message field. */
  readonly of: MessageType | undefined;
}

type Message = Record<string, unknown>;
/** Reader and Writer with their methods by name. */
type Methods = Record<string, (value?: unknown) => unknown>;
type Bits = { readonly low: number; readonly high: number };

/** True for the value that proto3 does not send. */
function isDefault(type: number, value: unknown): boolean {
  if (type === STRING) return value === "";
  if (type === BYTES) return !(value as Uint8Array).length;
  if (type === BOOL) return value === false;
  if (type <= FLOAT) return Object.is(value, 0);
  if (type <= SFIXED64 && typeof value === "object") return !((value as Bits).low || (value as Bits).high);
  return value === 0;
}

/** What a decoded message says of a field that was not sent. */
function defaultOf({ type, label }: Field): unknown {
  if (label === labels.map) return util.emptyObject;
  if (label >= labels.repeated) return util.emptyArray;
  if (label === labels.optional || type === MESSAGE) return null;
  if (type === STRING) return "";
  if (type === BYTES) return util.newBuffer([]);
  if (type === BOOL) return false;
  if (type <= FLOAT || type > SFIXED64 || !util.Long) return 0;
  return new util.Long(0, 0, type === UINT64 || type === FIXED64);
}

/** One message type of a module; what generated modules export in the place of pbjs' classes. */
export class MessageType {
  readonly #module: readonly MessageType[];
  readonly #names: string;
  readonly #row: Row;
  /** By field number; made at first use. */
  #fields: (Field | undefined)[] | undefined;
  /** Decoded messages inherit the defaults and own what was sent. */
  #defaults: Message | undefined;

  /**
   * @param module all message types of the module, to which rows refer by index
   * @param names of the fields, with a space between two
   */
  constructor(module: readonly MessageType[], names: string, row: Row) {
    this.#module = module;
    this.#names = names;
    this.#row = row;
  }

  #resolve(): (Field | undefined)[] {
    const fields: (Field | undefined)[] = [];
    const row = this.#row;
    const names = this.#names.split(" ");
    for (let at = 0; at < row.length; at += 2) {
      const number = row[at] ?? 0;
      const kind = row[at + 1] ?? 0;
      const type = kind & 15;
      const label = (kind >> 4) & 7;
      fields[number] = {
        name: names[at >> 1] ?? "",
        tag: (number << 3) | (label === labels.packed || label === labels.map ? DELIMITED : (wireTypes[type] ?? 0)),
        type,
        label,
        of: type === MESSAGE ? this.#module[kind >> 7] : undefined,
      };
    }
    this.#fields = fields;
    return fields;
  }

  #create(): Message {
    const fields = this.#fields ?? this.#resolve();
    if (this.#defaults === undefined) {
      this.#defaults = {};
      for (const field of fields) if (field !== undefined) this.#defaults[field.name] = defaultOf(field);
    }
    const message: Message = Object.create(this.#defaults);
    for (let number = 0; number < fields.length; number++) {
      const field = fields[number];
      if (field !== undefined && field.label >= labels.repeated) {
        message[field.name] = field.label === labels.map ? {} : [];
      }
    }
    return message;
  }

  /**
   * Encodes a message. Fields that are null, absent or, without `optional`, of their default value are not sent.
   * @throws Error when messages are nested too deeply
   */
  encode(message: object, writer?: Writer): Writer {
    return this.#write(message as Message, writer || Writer.create(), 0);
  }

  #write(message: Message, writer: Writer, depth: number): Writer {
    if (depth > util.recursionLimit) throw Error("max depth exceeded");
    const fields = this.#fields ?? this.#resolve();
    for (let number = 0; number < fields.length; number++) {
      const field = fields[number];
      if (field === undefined) continue;
      const { name, tag, type, label, of } = field;
      const value = message[name];
      if (value === undefined || value === null) continue;
      const method = types[type] ?? "";
      if (label === labels.repeated) {
        for (let i = 0, list = value as unknown[]; i < list.length; i++) {
          writer.uint32(tag);
          if (of === undefined) (writer as unknown as Methods)[method]?.(list[i]);
          else of.#write(list[i] as Message, writer.fork(), depth + 1).ldelim();
        }
      } else if (label === labels.packed) {
        if ((value as unknown[]).length) (writer.uint32(tag) as unknown as Methods)[`${method}s`]?.(value);
      } else if (!Object.hasOwn(message, name)) {
        // A default of a decoded message.
      } else if (label === labels.map) {
        for (const key of Object.keys(value)) {
          writer.uint32(tag).fork().uint32(10).string(key).uint32(18);
          const entry = (value as Record<string, unknown>)[key];
          if (of === undefined) writer.string(entry as string).ldelim();
          else
            of.#write(entry as Message, writer.fork(), depth + 1)
              .ldelim()
              .ldelim();
        }
      } else if (of !== undefined) {
        of.#write(value as Message, writer.uint32(tag).fork(), depth + 1).ldelim();
      } else if (label === labels.optional || !isDefault(type, value)) {
        (writer.uint32(tag) as unknown as Methods)[method]?.(value);
      }
    }
    const unknowns = message[UNKNOWNS] as Uint8Array[] | undefined | null;
    if (unknowns && Object.hasOwn(message, UNKNOWNS)) for (const bytes of unknowns) writer.raw(bytes);
    return writer;
  }

  /**
   * Decodes a message. Unknown fields are passed over; of a field that is sent twice the last value wins, and messages
   * are merged.
   * @param length of the message where the reader holds more
   * @throws Error for malformed input
   */
  decode(from: Reader | Uint8Array, length?: number): object {
    const reader = from instanceof Reader ? from : Reader.create(from);
    return this.#read(reader, length ?? reader.len - reader.pos, 0, undefined);
  }

  /** @param into a message to merge with */
  #read(reader: Reader, length: number, depth: number, into: Message | null | undefined): Message {
    if (depth > Reader.recursionLimit) throw Error("max depth exceeded");
    const end = reader.pos + length;
    const outer = reader.len;
    if (end > outer) throw RangeError("index out of range");
    // Nothing in this message may reach beyond its end.
    reader.len = end;
    const message = into ?? this.#create();
    const fields = this.#fields ?? this.#resolve();
    while (reader.pos < end) {
      const start = reader.pos;
      const tag = reader.tag();
      const number = tag >>> 3;
      const field = fields[number];
      if (field !== undefined && this.#readField(reader, field, tag & 7, message, depth)) continue;
      reader.skipType(tag & 7, depth, number);
      if (!reader.discardUnknown) {
        util.makeProp(message, UNKNOWNS, false);
        message[UNKNOWNS] ??= [];
        (message[UNKNOWNS] as Uint8Array[]).push(reader.raw(start, reader.pos));
      }
    }
    if (reader.pos !== end) throw RangeError("index out of range");
    reader.len = outer;
    return message;
  }

  #readEntry(reader: Reader, map: Record<string, Message>, depth: number): void {
    const read = (): Message => this.#read(reader, reader.size(), depth + 1, undefined);
    readEntry(reader, map, this.#create(), depth, read);
  }

  /** False when the field is not sent as its type is: it is unknown then. */
  #readField(reader: Reader, field: Field, wireType: number, message: Message, depth: number): boolean {
    const { name, type, label, of } = field;
    const isWhole = wireType === wireTypes[type];
    if (label >= labels.repeated) {
      if (label === labels.map) {
        if (wireType !== DELIMITED) return false;
        if (of === undefined) readEntry(reader, message[name] as Record<string, string>, "", depth, readText);
        else of.#readEntry(reader, message[name] as Record<string, Message>, depth);
        return true;
      }
      // Every number may come packed or not, whatever the schema says.
      const isPacked = type >= BOOL && wireType === DELIMITED;
      if (!isWhole && !isPacked) return false;
      let list = message[name] as unknown[];
      if (!list?.length) {
        list = [];
        message[name] = list;
      }
      if (isPacked) (reader as unknown as Methods)[`${types[type]}s`]?.(list);
      else
        list.push(of === undefined ? readValue(reader, type) : of.#read(reader, reader.size(), depth + 1, undefined));
      return true;
    }
    if (!isWhole) return false;
    if (of !== undefined) {
      message[name] = of.#read(reader, reader.size(), depth + 1, message[name] as Message | null);
      return true;
    }
    const value = readValue(reader, type);
    if (label === labels.optional || !isDefault(type, value)) message[name] = value;
    else delete message[name];
    return true;
  }
}

function readValue(reader: Reader, type: number): unknown {
  return (reader as unknown as Methods)[type === STRING ? "stringVerify" : (types[type] ?? "")]?.();
}

function readText(reader: Reader): string {
  return reader.stringVerify();
}

/**
 * Reads an entry of a map: a message of its own with a key in field 1 and a value in field 2.
 * @param absent the value of an entry that has none
 */
function readEntry<T>(
  reader: Reader,
  map: Record<string, T>,
  absent: T,
  depth: number,
  read: (reader: Reader) => T,
): void {
  const outer = reader.len;
  const end = reader.size() + reader.pos;
  if (end > outer) throw RangeError("index out of range");
  reader.len = end;
  let key = "";
  let value = absent;
  while (reader.pos < end) {
    const tag = reader.tag();
    if (tag === 10) key = reader.stringVerify();
    else if (tag === 18) value = read(reader);
    else reader.skipType(tag & 7, depth, tag >>> 3);
  }
  if (reader.pos !== end) throw RangeError("index out of range");
  reader.len = outer;
  // Assigning it would set the prototype and keep nothing.
  if (key === "__proto__") util.makeProp(map, key);
  map[key] = value;
}

/** The message types of a module, from the names and the row of each in turn. */
export function messageTypes(rows: readonly (string | Row)[]): MessageType[] {
  const module: MessageType[] = [];
  for (let at = 0; at < rows.length; at += 2) {
    module.push(new MessageType(module, rows[at] as string, rows[at + 1] as Row));
  }
  return module;
}

/** A message type with the types that are declared in it, as pbjs' classes have them. */
export function withNested(type: MessageType, nested: Record<string, unknown>): MessageType {
  return Object.assign(type, nested);
}

/** An enum as pbjs makes it: numbers by name, and names by number where nothing enumerates them. */
export function enumeration(names: string, numbers: readonly number[]): object {
  const byNumber: Record<number, string> = Object.create(null);
  const byName: Record<string, number> = Object.create(byNumber);
  names.split(" ").forEach((name, at) => {
    const number = numbers[at] ?? 0;
    byNumber[number] ??= name;
    byName[name] = number;
  });
  return byName;
}
