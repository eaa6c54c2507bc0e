/** Network configurations of CNI (spec 0.1 to 1.1, section 1): one plugin, or a list of them. Files are hostile input. */

import { invalidArgument } from "../../../proto/errdefs.ts";
import { cniVersions, isAtLeast, isVersion } from "./version.ts";

/** One plugin of a network: what it is given, as the file has it. */
export interface PluginConf {
  readonly type: string;
  readonly [key: string]: unknown;
}

/** A network as its file has it. */
export interface NetworkConf {
  readonly name: string;
  /** The latest version that both the file and we know. */
  readonly cniVersion: string;
  readonly disableCheck: boolean;
  readonly disableGC: boolean;
  readonly plugins: readonly PluginConf[];
  /** What berth notes about a network that it made; other runtimes do not look at it. */
  readonly berth?: BerthNotes;
}

/** Of networks that berth made. */
export interface BerthNotes {
  readonly driver: string;
  /** The interface that is the network's own, to be removed with it. */
  readonly bridge?: string;
  readonly internal?: boolean;
  /** RFC 3339. */
  readonly created?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** As in the specification: it becomes a part of paths. */
const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const MAX_PLUGINS = 32;

/**
 * Reads a configuration.
 * @param isList a `.conflist` has `plugins`, a `.conf` is one
 * @throws ContainerdError InvalidArgument that says what is wrong
 */
export function parseConf(text: string, isList: boolean): NetworkConf {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalidArgument(`not JSON: ${(error as Error).message}`);
  }
  if (!isObject(value)) throw invalidArgument("not a JSON object");
  const { name, plugins } = value;
  if (typeof name !== "string" || name === "") throw invalidArgument('"name" is missing');
  if (!namePattern.test(name) || name.length > 128) {
    throw invalidArgument(`"name" ${show(name)} may have letters, digits, "_", "." and "-" only`);
  }
  if (isList && !Array.isArray(plugins)) throw invalidArgument('"plugins" is missing: a .conflist needs it');
  if (!isList && plugins !== undefined) throw invalidArgument('it has "plugins": call the file .conflist');
  const list: unknown[] = isList ? (plugins as unknown[]) : [value];
  if (list.length === 0) throw invalidArgument('"plugins" is empty');
  if (list.length > MAX_PLUGINS) throw invalidArgument(`"plugins" has more than ${MAX_PLUGINS} of them`);
  const notes = value["berth"];
  return {
    name,
    cniVersion: versionOf(value),
    disableCheck: flag(value, "disableCheck"),
    disableGC: flag(value, "disableGC"),
    plugins: list.map(pluginOf),
    ...(isObject(notes) ? { berth: notesOf(notes) } : {}),
  };
}

/** Part of libcni's rule: the highest of `cniVersions` that we know, else `cniVersion`, else the oldest. */
function versionOf(value: Record<string, unknown>): string {
  const { cniVersion, cniVersions: several } = value;
  if (cniVersion !== undefined && !isVersion(cniVersion)) {
    throw invalidArgument(`"cniVersion" ${show(cniVersion)} is no version such as "1.0.0"`);
  }
  if (several !== undefined && !(Array.isArray(several) && several.every(isVersion))) {
    throw invalidArgument('"cniVersions" is no list of versions such as "1.0.0"');
  }
  const offered = [...((several as string[] | undefined) ?? []), ...(cniVersion === undefined ? [] : [cniVersion])];
  if (offered.length === 0) return cniVersions[0];
  const known = offered.filter((version) => (cniVersions as readonly string[]).includes(version));
  const latest = known.reduce<string | undefined>((a, b) => (a === undefined || isAtLeast(b, a) ? b : a), undefined);
  if (latest === undefined) {
    throw invalidArgument(`"cniVersion" ${show(offered[0])} is not known: ${cniVersions.join(", ")} are`);
  }
  return latest;
}

function pluginOf(value: unknown, at: number): PluginConf {
  if (!isObject(value)) throw invalidArgument(`plugin ${at + 1}: not an object`);
  const { type, capabilities } = value;
  if (typeof type !== "string" || !namePattern.test(type)) {
    throw invalidArgument(`plugin ${at + 1}: "type" ${show(type)} is no name of a program`);
  }
  if (capabilities !== undefined && !isObject(capabilities)) {
    throw invalidArgument(`plugin ${at + 1} (${type}): "capabilities" is no object`);
  }
  return { ...value, type };
}

function notesOf({ driver, bridge, internal, created, labels }: Record<string, unknown>): BerthNotes {
  const texts = isObject(labels)
    ? Object.entries(labels).filter((pair): pair is [string, string] => typeof pair[1] === "string")
    : [];
  return {
    driver: typeof driver === "string" ? driver : "",
    ...(typeof bridge === "string" && /^[a-zA-Z0-9_.-]{1,15}$/.test(bridge) ? { bridge } : {}),
    ...(internal === true ? { internal } : {}),
    ...(typeof created === "string" ? { created } : {}),
    labels: Object.fromEntries(texts),
  };
}

/** libcni takes booleans, and the strings that Go takes for them. */
function flag(value: Record<string, unknown>, key: string): boolean {
  const given = value[key];
  if (given === undefined || typeof given === "boolean") return given ?? false;
  if (typeof given === "string" && /^(true|false)$/i.test(given)) return given.toLowerCase() === "true";
  throw invalidArgument(`${show(key)} is neither true nor false`);
}

/** True for a JSON object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? "nothing").slice(0, 80);
}
