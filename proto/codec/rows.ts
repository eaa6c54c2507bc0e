/** Writes the code of a module: the rows of its messages, which message.ts reads, and its namespaces. For builds. */

import protobuf from "protobufjs";
import { labels, types } from "./message.ts";

/** Larger field numbers would make the tables long that message.ts has by field number. */
const MAX_NUMBER = 255;

/** Fields as the static code of pbjs looks at them; the declarations of protobufjs leave some of it out. */
type Field = protobuf.Field & {
  readonly _features?: { readonly utf8_validation?: string };
};

/** The code of a field's type; negative for one that does not exist. */
function typeOf(field: Field): number {
  if (field.resolvedType instanceof protobuf.Type) return types.indexOf("message");
  const name = field.resolvedType instanceof protobuf.Enum ? "int32" : field.type;
  return (types as readonly string[]).indexOf(name);
}

function labelOf(field: Field, type: number): number {
  if (field.map) return labels.map;
  if (field.repeated) return field.packed && type > types.indexOf("bytes") ? labels.packed : labels.repeated;
  return field.hasPresence && type !== types.indexOf("message") ? labels.optional : labels.singular;
}

/** Why message.ts cannot do this field as pbjs' code does; undefined when it can. */
function obstacleOf(field: Field): string | undefined {
  if (field.id > MAX_NUMBER) return `its number is above ${MAX_NUMBER}`;
  if (field.required) return "it is required";
  if (field.delimited) return "it is a group";
  if (field.partOf !== null && !field.partOf.isProto3Optional) return "it is part of a oneof";
  const isOfMap = field.type === "string" || field.resolvedType instanceof protobuf.Type;
  if (field.map && !(isOfMap && (field as unknown as protobuf.MapField).keyType === "string")) {
    return "it is a map of something else than string to string or message";
  }
  if (field._features?.utf8_validation !== "VERIFY") return "its strings are not verified";
  if (field.resolvedType instanceof protobuf.Enum) {
    const { _features } = field.resolvedType as { readonly _features?: { readonly enum_type?: string } };
    if (_features?.enum_type !== "OPEN") return "its enum is closed";
    if (field.resolvedType.valuesById[0] === undefined || field.typeDefault !== 0) return "its enum has no zero first";
  } else if (typeOf(field) < 0) {
    return `its type ${field.type} is not known`;
  }
  return undefined;
}

/**
 * The code of a module with all that a root holds.
 * @param runtime what the module imports message.ts by
 * @throws Error when it has something that message.ts does not do
 */
export function moduleText(root: protobuf.Root, runtime: string): string {
  root.resolveAll();
  const found: protobuf.Type[] = [];
  const names = (name: string): string => {
    if (!/^[A-Za-z]\w*$/.test(name) || protobuf.util.isReserved(name)) throw new Error(`${name} cannot be a name`);
    return name;
  };

  const walk = (space: protobuf.NamespaceBase, indent: string): string => {
    const lines: string[] = [];
    for (const object of space.nestedArray) {
      if (object instanceof protobuf.Service) continue;
      const name = names(object.name);
      if (object instanceof protobuf.Enum) {
        const values = Object.entries(object.values);
        const spelt = JSON.stringify(values.map(([key]) => names(key)).join(" "));
        lines.push(`${name}: enumeration(${spelt}, [${values.map(([, value]) => value).join(", ")}]),`);
      } else if (object instanceof protobuf.Type) {
        const type = `t[${found.push(object) - 1}]`;
        if (object.nestedArray.length === 0) lines.push(`${name}: ${type},`);
        else lines.push(`${name}: withNested(${type}, {\n${walk(object, `${indent}  `)}${indent}}),`);
      } else if (object instanceof protobuf.Namespace) {
        lines.push(`${name}: {\n${walk(object, `${indent}  `)}${indent}},`);
      } else {
        throw new Error(`${object.fullName}: extensions are not supported`);
      }
    }
    return lines.map((line) => `${indent}${line}\n`).join("");
  };

  const row = (type: protobuf.Type): string => {
    const fields = (type.fieldsArray as Field[]).toSorted((a, b) => a.id - b.id);
    const numbers = fields.flatMap((field) => {
      const obstacle = obstacleOf(field);
      if (obstacle !== undefined) throw new Error(`${field.fullName}: ${obstacle}`);
      const code = typeOf(field);
      const of = field.resolvedType instanceof protobuf.Type ? found.indexOf(field.resolvedType) : 0;
      return [field.id, code + 16 * labelOf(field, code) + 128 * of];
    });
    const spelt = JSON.stringify(fields.map(({ name }) => names(name)).join(" "));
    return `  // ${type.fullName.slice(1)}\n  ${spelt}, [${numbers.join(", ")}],`;
  };

  const exported = root.nestedArray.map((object) => {
    if (!(object instanceof protobuf.Namespace) || object instanceof protobuf.Type) {
      throw new Error(`${object.fullName}: not in a package`);
    }
    return `export const ${names(object.name)} = {\n${walk(object, "  ")}};\n`;
  });
  return [
    "// Generated by proto/generate.ts; do not edit. A row has number and kind of each field, see proto/codec/message.ts.",
    `import { enumeration, messageTypes, withNested } from ${JSON.stringify(runtime)};`,
    "",
    `const t = messageTypes([\n${found.map(row).join("\n")}\n]);`,
    "",
    ...exported,
  ].join("\n");
}
