/** Options of `[runtimes.NAME.options]` as shims take them. */

import { containerd, runtimeoptions } from "../../proto/gen/supervisor.js";
import { isTable } from "./kinds.ts";
import { joinPath } from "./lines.ts";
import { nearest } from "./nearest.ts";
import { ConfigError } from "./read.ts";

/** An Any. */
interface Packed {
  readonly type_url: string;
  readonly value: Uint8Array;
}

type Options = Readonly<Record<string, unknown>>;

/** Names of runc's options as containerd spells them, with the kind of each. */
const runcOptions: Readonly<Record<string, "boolean" | "number" | "string">> = {
  NoPivotRoot: "boolean",
  NoNewKeyring: "boolean",
  SystemdCgroup: "boolean",
  IoUid: "number",
  IoGid: "number",
  ShimCgroup: "string",
  BinaryName: "string",
  Root: "string",
  CriuImagePath: "string",
  CriuWorkPath: "string",
};

/** Runtimes whose options are runc's. */
const runcRuntimes = ["io.containerd.runc.v2", "io.containerd.berth.v2"];

/**
 * What a Create of this runtime is given when its client gives nothing: runc's own message, or for other runtimes the
 * options as TOML inside the generic one.
 * @returns undefined when nothing is configured
 * @throws ConfigError for a name or a value that runc's options do not have
 */
export function packRuntimeOptions(runtime: string, options: Options): Packed | undefined {
  if (Object.keys(options).length === 0) return undefined;
  if (!runcRuntimes.includes(runtime)) {
    const configBody = new TextEncoder().encode(toToml(options));
    const value = runtimeoptions.v1.Options.encode({ configBody }).finish();
    return { type_url: "runtimeoptions.v1.Options", value };
  }
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    const kind = Object.hasOwn(runcOptions, name) ? runcOptions[name] : undefined;
    const path = joinPath(["runtimes", runtime, "options", name]);
    if (kind === undefined) {
      const near = nearest(name, Object.keys(runcOptions));
      throw new ConfigError(`unknown key ${path}${near ? `: did you mean ${near}?` : ""}`);
    }
    const isRight = typeof value === kind && (kind !== "number" || (Number.isInteger(value) && (value as number) >= 0));
    if (!isRight) throw new ConfigError(`wrong value of ${path}: expected a ${kind}, not ${JSON.stringify(value)}`);
    fields[`${name.charAt(0).toLowerCase()}${name.slice(1)}`] = value;
  }
  return { type_url: "containerd.runc.v1.Options", value: containerd.runc.v1.Options.encode(fields).finish() };
}

/** TOML of a table: values first, then the tables in it. */
function toToml(options: Options, path: readonly string[] = []): string {
  const entries = Object.entries(options);
  const values = entries.filter(([, value]) => !isTable(value));
  const lines = values.map(([name, value]) => `${joinPath([name])} = ${JSON.stringify(value)}\n`);
  const tables = entries.map(([name, value]) => {
    return isTable(value) ? `[${joinPath([...path, name])}]\n${toToml(value, [...path, name])}` : "";
  });
  return [...lines, ...tables].join("");
}
