/** Messages for the tests of the codec: what a schema allows, drawn from a seed, and what a message says as text. */

import protobuf from "protobufjs";

/** A schema with every type in every place that rows have, beside what our own files use. */
export const everything = `
syntax = "proto3";
package everything;
enum Color { RED = 0; GREEN = 1; BLUE = -3; ROUGE = 1000; }
message Node { string name = 1; Node child = 2; repeated Node children = 3; map<string, string> labels = 4; }
message Bare { bool never = 255; }
${["", "optional ", "repeated ", "unpacked "]
  .map((label, index) => {
    const scalars = "double float int32 int64 uint32 uint64 sint32 sint64 fixed32 fixed64 sfixed32 sfixed64 bool";
    const names = [...scalars.split(" "), "string", "bytes", "Color", "Node"];
    const unpacked = label === "unpacked ";
    const fields = names
      .filter((type) => !unpacked || !["string", "bytes", "Node"].includes(type))
      .map((type, at) => {
        const spelt = unpacked ? `repeated ${type}` : `${label}${type}`;
        return `${spelt} ${type.toLowerCase()}_value = ${at * 7 + 1}${unpacked ? " [packed = false]" : ""};`;
      });
    return `message All${index} { ${fields.join(" ")} }`;
  })
  .join("\n")}
`;

/** Whole numbers below a limit, the same for the same seed (mulberry32). */
export function random(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

const strings = ["", "a", "id-1", "/run/é", "日本語", "😀😀", "__proto__", "constructor", "\u0000", "x".repeat(63)];
const longer = ["y".repeat(127), "ß".repeat(64), "z".repeat(128), "w".repeat(300), "\ud800 alone"];
const integers = [0, 1, 2, 127, 128, 255, 300, 16383, 16384, 2 ** 21, 2 ** 28, 2 ** 31 - 1];

function scalar(type: string, draw: (limit: number) => number): unknown {
  const pick = <T>(list: readonly T[]): T => list[draw(list.length)] as T;
  const number = pick(integers) + (draw(2) ? draw(1000) : 0);
  switch (type) {
    case "string":
      return pick(draw(3) ? strings : longer);
    case "bytes":
      return Uint8Array.from({ length: pick([0, 1, 5, 127, 128, 300]) }, () => draw(256));
    case "bool":
      return draw(2) === 1;
    case "double":
    case "float":
      return pick([0, -0, 1, -1.5, 3.25e10, Number.NaN, Number.POSITIVE_INFINITY, number / 3]);
    case "uint32":
    case "fixed32":
      return draw(4) ? number >>> 0 : 2 ** 32 - 1 - draw(3);
    case "uint64":
    case "fixed64":
      return draw(3)
        ? number * pick([1, 2 ** 12, 2 ** 21])
        : { low: draw(2 ** 32) | 0, high: draw(2 ** 32) | 0, unsigned: true };
    case "int64":
    case "sint64":
    case "sfixed64":
      return draw(3)
        ? number * pick([1, -1, 2 ** 21, -(2 ** 21)])
        : { low: draw(3) ? draw(2 ** 32) | 0 : 0, high: draw(2) ? draw(2 ** 32) | 0 : 0, unsigned: false };
    default:
      return draw(2) ? number | 0 : -(number | 0);
  }
}

function value(field: protobuf.Field, draw: (limit: number) => number, depth: number): unknown {
  const of = field.resolvedType;
  if (of instanceof protobuf.Type) return properties(of, draw, depth + 1);
  return of === null ? scalar(field.type, draw) : Object.values(of.values)[draw(Object.keys(of.values).length)];
}

/** The properties of a message: of each field nothing, its default, null or a value. */
export function properties(type: protobuf.Type, draw: (limit: number) => number, depth = 0): object {
  const message: Record<string, unknown> = {};
  for (const field of type.fieldsArray) {
    field.resolve();
    const kind = draw(6);
    if (kind === 0 || (depth > 3 && field.resolvedType instanceof protobuf.Type)) continue;
    if (kind === 1) message[field.name] = draw(2) ? null : undefined;
    else if (field.map) {
      const entries = Array.from({ length: draw(4) }, () => [scalar("string", draw), scalar("string", draw)] as const);
      message[field.name] = Object.fromEntries(entries);
    } else if (field.repeated) {
      const length = draw(20) || depth > 0 ? draw(4) : 150;
      message[field.name] = Array.from({ length }, () => value(field, draw, depth));
    } else message[field.name] = value(field, draw, depth);
  }
  return message;
}

function text(type: string | protobuf.Type, of: unknown): string {
  if (type instanceof protobuf.Type) return of === null ? "null" : snapshot(type, of as object);
  if (of instanceof Uint8Array) return `bytes ${Buffer.from(of).toString("hex")}`;
  if (typeof of === "object" && of !== null) {
    const { low, high, unsigned } = of as { low: number; high: number; unsigned: boolean };
    return `long ${low} ${high} ${unsigned}`;
  }
  return Object.is(of, -0) ? "-0" : `${typeof of} ${String(of)}`;
}

/** All that a decoded message says, of each field also whether the message has it of its own. */
export function snapshot(type: protobuf.Type, decoded: object): string {
  const message = decoded as Record<string, unknown>;
  const fields = type.fieldsArray.map((field) => {
    const of = field.resolvedType instanceof protobuf.Type ? field.resolvedType : field.type;
    const value = message[field.name];
    const own = Object.hasOwn(message, field.name);
    if (field.map) return `${field.name} ${own} ${JSON.stringify(Object.entries(value as object))}`;
    if (Array.isArray(value)) return `${field.name} ${own} [${value.map((one) => text(of, one)).join()}]`;
    return `${field.name} ${own} ${text(of, value)}`;
  });
  const known = new Set(type.fieldsArray.map(({ name }) => name));
  const others = Object.getOwnPropertyNames(message).filter((name) => !known.has(name));
  const { $unknowns: unknowns } = decoded as { $unknowns?: Uint8Array[] };
  return `{${fields.join("; ")}; ${others.join()}; ${unknowns?.map((bytes) => text("bytes", bytes)).join() ?? ""}}`;
}
