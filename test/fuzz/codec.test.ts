import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import protobuf from "protobufjs";
import { modules, parse, runPbjs } from "../../proto/codec/pbjs.ts";
import { moduleText } from "../../proto/codec/rows.ts";
import { slimProtobufjs, withoutLong } from "../../proto/codec/slim.ts";
import { everything, properties, random, snapshot } from "./codec-messages.ts";

const root = join(import.meta.dir, "../..");
const runtime = join(root, "proto/codec/message.ts");
const minimal = join(root, "node_modules/protobufjs/minimal.js");

/** What pbjs' static classes and our message types have in common. */
interface Codec {
  encode(message: object): { finish(): Uint8Array };
  decode(bytes: Uint8Array | protobuf.Reader): object;
}

/** A message type, the static code of pbjs for it, and ours. */
interface Pair {
  readonly type: protobuf.Type;
  readonly pbjs: Codec;
  readonly ours: Codec;
}

let directory = "";
let types: protobuf.Type[] = [];
/** From source, as the tests and tools run. */
let plain: Pair[] = [];
/** As the compiled program has it: without `long`, and ours with what is left of protobufjs. */
let compiled: Pair[] = [];

/** What a module has under a full name such as `.containerd.task.v2.StateRequest`. */
function at(module: unknown, name: string): unknown {
  let found = module;
  for (const part of name.slice(1).split(".")) found = (found as Record<string, unknown> | undefined)?.[part];
  return found;
}

async function load(path: string): Promise<Record<string, unknown>> {
  return (await import(path)) as Record<string, unknown>;
}

/** Bundles a module as the build does. */
async function bundle(path: string, plugins: Bun.BunPlugin[]): Promise<Record<string, unknown>> {
  const outdir = `${path}.bundle`;
  const built = await Bun.build({ entrypoints: [path], outdir, target: "bun", format: "esm", minify: true, plugins });
  const output = built.outputs[0]?.path;
  if (!built.success || output === undefined) throw new Error(`no bundle of ${path}`);
  return load(output);
}

beforeAll(async () => {
  directory = mkdtempSync("/tmp/berth-codec-");
  const schema = join(directory, "everything.proto");
  writeFileSync(schema, everything);
  const files = [...Object.values(modules).flat(), schema];
  const reflected = parse(files);
  reflected.resolveAll();
  const collect = (space: protobuf.NamespaceBase): protobuf.Type[] =>
    space.nestedArray.flatMap((object) => {
      if (object instanceof protobuf.Type) return [object];
      return object instanceof protobuf.Namespace ? collect(object) : [];
    });
  types = collect(reflected);

  const pbjsPath = join(directory, "pbjs.js");
  await runPbjs(pbjsPath, "berth-codec-test", files);
  writeFileSync(pbjsPath, readFileSync(pbjsPath, "utf8").replace('"protobufjs/minimal.js"', JSON.stringify(minimal)));
  const oursPath = join(directory, "ours.js");
  writeFileSync(oursPath, moduleText(reflected, runtime));

  const pair = (pbjs: unknown, ours: unknown): Pair[] =>
    types.map((type) => ({
      type,
      // For a message without fields pbjs takes the whole tag for the number of an unknown field, so that it lets number 0
      // pass and refuses groups. What it does for a message whose field never comes is the rule.
      pbjs: at(pbjs, type.fieldsArray.length > 0 ? type.fullName : ".everything.Bare") as Codec,
      ours: at(ours, type.fullName) as Codec,
    }));
  plain = pair(await load(pbjsPath), await load(oursPath));
  compiled = pair(await bundle(pbjsPath, [withoutLong]), await bundle(oursPath, [withoutLong, slimProtobufjs]));
}, 60_000);

afterAll(() => rmSync(directory, { recursive: true, force: true }));

const variants = [
  ["from source", () => plain],
  ["as compiled", () => compiled],
] as const;

/** What a codec makes of bytes: what the message says and how it encodes again, or the error. */
function outcome(codec: Codec, type: protobuf.Type, bytes: Uint8Array): string {
  let decoded: object;
  try {
    decoded = codec.decode(bytes);
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : `threw ${String(error)}`;
  }
  return `${snapshot(type, decoded)} ${Buffer.from(codec.encode(decoded).finish()).toString("hex")}`;
}

/** Encodes with pbjs' code and ours, which must agree. */
function encode({ type, pbjs, ours }: Pair, message: object): Uint8Array {
  const expected = pbjs.encode(message).finish();
  if (!Buffer.from(ours.encode(message).finish()).equals(expected)) {
    // Compared as text for the sake of the difference that is printed.
    const hex = Buffer.from(ours.encode(message).finish()).toString("hex");
    expect(`${type.fullName} ${hex}`).toBe(`${type.fullName} ${Buffer.from(expected).toString("hex")}`);
  }
  return expected;
}

function compare({ type, pbjs, ours }: Pair, bytes: Uint8Array): string {
  const expected = outcome(pbjs, type, bytes);
  const actual = outcome(ours, type, bytes);
  if (actual !== expected) {
    const hex = Buffer.from(bytes).toString("hex");
    expect(`${type.fullName} ${hex}\n${actual}`).toBe(`${type.fullName} ${hex}\n${expected}`);
  }
  return expected;
}

/** Makes bytes worse: cuts, changes, inserts, repeats, or replaces them. */
function spoil(bytes: Uint8Array, draw: (limit: number) => number): Uint8Array {
  const noise = () => Uint8Array.from({ length: 1 + draw(8) }, () => (draw(3) ? draw(256) : 255));
  const place = draw(bytes.length + 1);
  switch (draw(6)) {
    case 0:
      return bytes.subarray(0, place);
    case 1:
      return Buffer.concat([bytes.subarray(0, place), noise(), bytes.subarray(place)]);
    case 2:
      return Buffer.concat([bytes, bytes.subarray(place)]);
    case 3:
      return noise();
    case 4:
      return Buffer.concat([bytes.subarray(0, place), bytes.subarray(place + 1 + draw(3))]);
    default: {
      const changed = Uint8Array.from(bytes);
      for (let times = draw(3); times >= 0; times--) changed[draw(bytes.length)] = draw(256);
      return changed;
    }
  }
}

describe("rows give what the static code of pbjs gives", () => {
  test("every message of every generated module is there", async () => {
    let messages = 0;
    for (const [name, files] of Object.entries(modules)) {
      const module = await load(join(root, "proto/gen", `${name}.js`));
      const generated = types.filter(({ fullName }) => at(module, fullName) !== undefined);
      const wanted = files.flatMap((file) =>
        [...readFileSync(join(root, "proto", file), "utf8").matchAll(/^message (\w+)/gm)].map(([, word]) => word),
      );
      expect(generated.map((type) => type.name)).toEqual(expect.arrayContaining(wanted));
      for (const type of generated) {
        const pair = plain.find((one) => one.type === type);
        if (pair === undefined) throw new Error(`no ${type.fullName}`);
        const draw = random(7);
        for (let round = 0; round < 20; round++) {
          compare({ ...pair, ours: at(module, type.fullName) as Codec }, encode(pair, properties(type, draw)));
        }
        messages++;
      }
    }
    expect(messages).toBeGreaterThan(80);
  });

  for (const [variant, pairs] of variants) {
    test(`random messages, ${variant}`, () => {
      const draw = random(1);
      for (const pair of pairs()) {
        for (let round = 0; round < 60; round++) compare(pair, encode(pair, properties(pair.type, draw)));
      }
    });

    const inputs = variant === "from source" ? 100_000 : 30_000;
    test(`${inputs} spoilt inputs, ${variant}`, () => {
      const draw = random(2);
      const list = pairs();
      let refused = 0;
      for (let round = 0; round < inputs; ) {
        const pair = list[draw(list.length)] as Pair;
        const bytes = pair.pbjs.encode(properties(pair.type, draw, 2)).finish();
        for (let times = 0; times < 20; times++, round++) {
          if (!compare(pair, spoil(bytes, draw)).startsWith("{")) refused++;
        }
      }
      // Neither all noise nor all sound.
      expect(refused).toBeGreaterThan(inputs / 10);
      expect(refused).toBeLessThan(inputs * 0.9);
    }, 60_000);

    const named = (name: string): Pair => pairs().find(({ type }) => type.name === name) as Pair;

    test(`messages nested too deeply are refused both ways, ${variant}`, () => {
      const { ours, pbjs } = named("Node");
      const nest = (depth: number): object => (depth === 0 ? {} : { child: nest(depth - 1) });
      for (const codec of [ours, pbjs]) {
        expect(() => codec.encode(nest(101))).toThrow("max depth exceeded");
        expect(codec.encode(nest(100)).finish().length).toBeGreaterThan(200);
      }
      let bytes: Uint8Array = new Uint8Array(0);
      for (let depth = 0; depth < 100; depth++) {
        bytes = protobuf.Writer.create().uint32(18).bytes(bytes).finish();
      }
      expect(compare(named("Node"), bytes)).toStartWith("{");
      const deeper = protobuf.Writer.create().uint32(18).bytes(bytes).finish();
      expect(compare(named("Node"), deeper)).toBe("Error: max depth exceeded");
    });

    test(`lengths beyond the input allocate nothing, ${variant}`, () => {
      for (const { type, ours, pbjs } of pairs()) {
        for (const number of type.fieldsArray.map(({ id }) => id)) {
          // A length of 4 GiB in a message of 6 or 7 bytes.
          const bytes = protobuf.Writer.create()
            .uint32((number << 3) | 2)
            .uint32(0xffff_ffff)
            .finish();
          const before = process.memoryUsage().arrayBuffers;
          expect(outcome(ours, type, bytes)).toMatch(/^(RangeError|Error): /);
          expect(outcome(pbjs, type, bytes)).toBe(outcome(ours, type, bytes));
          expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
        }
      }
    });

    test(`keys of maps cannot reach prototypes, ${variant}`, () => {
      const pair = named("Node");
      const labels = Object.fromEntries([
        ["__proto__", "one"],
        ["constructor", "two"],
      ]);
      const { labels: read } = pair.ours.decode(encode(pair, { labels })) as { labels: Record<string, string> };
      expect(Object.entries(read)).toEqual(Object.entries(labels));
      expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
    });

    test(`64-bit numbers are what the static code makes of them, ${variant}`, () => {
      const pair = named("All0");
      const bytes = encode(pair, { int64Value: -(2 ** 40), uint64Value: { low: -1, high: -1, unsigned: true } });
      const { int64Value, uint64Value } = pair.ours.decode(bytes) as Record<string, unknown>;
      expect(typeof int64Value).toBe(variant === "as compiled" ? "number" : "object");
      expect([Number(int64Value), Number(uint64Value)]).toEqual([-(2 ** 40), 2 ** 64]);
      compare(pair, bytes);
    });
  }

  test("messages that are sent in parts are merged, and lists added to", () => {
    const pair = plain.find(({ type }) => type.name === "Node") as Pair;
    const parts = [
      { name: "a", child: { name: "b", children: [{ name: "c" }] } },
      { child: { children: [{ name: "d" }], labels: { k: "v" } } },
    ].map((part) => encode(pair, part));
    expect(compare(pair, Buffer.concat(parts))).toStartWith("{");
    const { child } = pair.ours.decode(Buffer.concat(parts)) as { child: { name: string; children: object[] } };
    expect([child.name, child.children.length]).toEqual(["b", 2]);
  });

  test("unknown fields are kept for a reader that asks for them", () => {
    const { type, pbjs, ours } = plain.find((pair) => pair.type.name === "All0") as Pair;
    const bytes = protobuf.Writer.create().uint32(4000).uint32(5).uint32(8).uint32(5).uint32(18).string("x").finish();
    const [expected, actual] = [pbjs, ours].map((codec) => {
      const reader = protobuf.Reader.create(bytes);
      reader.discardUnknown = false;
      const decoded = codec.decode(reader);
      return `${snapshot(type, decoded)} ${Buffer.from(codec.encode(decoded).finish()).toString("hex")}`;
    });
    expect(actual).toBe(expected as string);
    expect(actual).toContain("$unknowns");
  });

  test("enums have names by number, which nothing enumerates", async () => {
    const { containerd } = await import("../../proto/gen/shim.js");
    const { LogLevel } = containerd.runtime.bootstrap.v1;
    expect(LogLevel.LOG_LEVEL_DEBUG).toBe(-4);
    expect(LogLevel[-4]).toBe("LOG_LEVEL_DEBUG");
    expect(Object.keys(LogLevel)).toHaveLength(7);
    const aliased = at(await load(join(directory, "ours.js")), ".everything.Color") as Record<string, unknown>;
    expect(aliased).toEqual(at(await load(join(directory, "pbjs.js")), ".everything.Color") as typeof aliased);
  });
});

describe("what rows cannot say is an error of the build", () => {
  const text = (body: string, syntax = "proto3"): string =>
    moduleText(protobuf.parse(`syntax = "${syntax}"; package p; ${body}`).root, "runtime");

  for (const [what, body, error, syntax] of [
    ["a map of something else", "message M { map<string, int32> m = 1; }", "map of something else"],
    ["a map by something else", "message M { map<int32, string> m = 1; }", "map of something else"],
    ["a oneof", "message M { oneof o { string a = 1; string b = 2; } }", "oneof"],
    ["a large field number", "message M { string a = 256; }", "above 255"],
    ["a required field", "message M { required string a = 1; }", "required", "proto2"],
    ["a group", "message M { optional group G = 1 { } }", "group", "proto2"],
    ["strings that are not verified", "message M { optional string a = 1; }", "not verified", "proto2"],
    ["a name that is none", "message delete { string a = 1; }", "cannot be a name"],
  ] as const) {
    test(what, () => expect(() => text(body, syntax)).toThrow(error));
  }

  test("the like that they can say is not", () => {
    expect(text("message M { optional string a = 255; map<string, string> m = 2; }")).toContain(
      '"m a", [2, 65, 255, 17]',
    );
    expect(text("message M { message N { } map<string, N> m = 2; }")).toContain("M: withNested(t[0], {\n    N: t[1],");
  });
});
