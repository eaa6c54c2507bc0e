/**
 * The verbs of a network, as libcni has them: ADD runs the plugins in order, each with the result of the one before; DEL
 * in reverse, each with the last result; CHECK, GC and STATUS ask every plugin.
 */

import { failedPrecondition, messageOf } from "../../../proto/errdefs.ts";
import { isIP } from "../address.ts";
import { isObject, type NetworkConf, type PluginConf } from "./conf.ts";
import type { Call, Command } from "./plugin.ts";
import { callPlugin, findPlugin, missingPlugin } from "./plugin.ts";
import { addressesOf, type Result } from "./result.ts";
import { isAtLeast } from "./version.ts";

/** One interface of one container in one network: what identifies it, and what was asked for. */
export interface Target {
  readonly containerId: string;
  readonly netns: string;
  readonly ifName: string;
  /** Values of capabilities, given to the plugins that have them: portMappings, ips, mac, aliases, bandwidth, dns. */
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
  /** CNI_ARGS. */
  readonly args: string;
}

/** An attachment that stays, for GC. */
export interface ValidAttachment {
  readonly containerID: string;
  readonly ifname: string;
}

/** Where plugins are, and how long each may take. */
export interface Plugins {
  readonly dirs: readonly string[];
  /** Milliseconds. */
  readonly timeoutMs?: number;
}

/** True when a plugin of the network has the capability. */
export function hasCapability({ plugins }: NetworkConf, capability: string): boolean {
  return plugins.some(({ capabilities }) => isObject(capabilities) && capabilities[capability] === true);
}

/**
 * Attaches. What a failure leaves is for the caller to take away with {@link del}.
 * @param onResult told of the result after each plugin, so that it can be kept before the next one begins
 * @throws CniError
 */
export async function add(
  network: NetworkConf,
  target: Target,
  plugins: Plugins,
  onResult: (result: Result) => void = () => {},
): Promise<Result> {
  let result: Result | undefined;
  for (const plugin of network.plugins) {
    const answer = await run(network, plugin, "ADD", plugins, target, result);
    // A plugin without an answer of its own leaves what there was.
    result = isObject(answer) ? answer : (result ?? {});
    onResult(result);
  }
  return result ?? {};
}

/**
 * Detaches; to be called again is harmless. Every plugin is called, whatever the others say.
 * @param result the last one that is known
 * @throws CniError the first failure
 */
export async function del(
  network: NetworkConf,
  target: Target,
  plugins: Plugins,
  result: Result | undefined,
): Promise<void> {
  const previous = isAtLeast(network.cniVersion, "0.4.0") ? result : undefined;
  const errors: unknown[] = [];
  for (const plugin of network.plugins.toReversed()) {
    // Without a result none has ended well, and one that is not installed has not even begun.
    if (result === undefined && findPlugin(plugin.type, plugins.dirs) === undefined) continue;
    await run(network, plugin, "DEL", plugins, target, previous).catch((error: unknown) => errors.push(error));
  }
  if (errors.length > 0) throw errors[0];
}

/**
 * Looks whether everything is as ADD left it.
 * @throws CniError that says what is not; ContainerdError FailedPrecondition when the network cannot be checked
 */
export async function check(
  network: NetworkConf,
  target: Target,
  plugins: Plugins,
  result: Result | undefined,
): Promise<void> {
  if (network.disableCheck) return;
  if (!isAtLeast(network.cniVersion, "0.4.0")) {
    throw failedPrecondition(
      `network ${network.name}: cniVersion ${network.cniVersion} has no CHECK: 0.4.0 and later have`,
    );
  }
  for (const plugin of network.plugins) {
    try {
      await run(network, plugin, "CHECK", plugins, target, result);
    } catch (error) {
      if (!isFalseAlarm(plugin, error, result)) throw error;
    }
  }
}

/** portmap up to 1.1 (Debian 12) looks for rules of both families, though it makes those of the addresses alone. */
function isFalseAlarm({ type }: PluginConf, error: unknown, result: Result | undefined): boolean {
  const family = /could not check ipv([46]) dnat: chain \S+ not found/.exec(messageOf(error))?.[1];
  if (type !== "portmap" || family === undefined) return false;
  return !addressesOf(result).some(({ ip }) => String(isIP(ip)) === family);
}

/**
 * Tells plugins which attachments stay, so that they release all others. Nothing for networks before 1.1.0, which have
 * no such verb: their attachments are released one by one, by whoever knows of them.
 * @throws CniError the first failure
 */
export async function gc(network: NetworkConf, valid: readonly ValidAttachment[], plugins: Plugins): Promise<void> {
  if (network.disableGC || !isAtLeast(network.cniVersion, "1.1.0")) return;
  const errors: unknown[] = [];
  for (const plugin of network.plugins) {
    const config = { ...configOf(network, plugin), "cni.dev/valid-attachments": valid, "cni.dev/attachments": valid };
    const call: Call = { ...callOf(network, plugin, "GC", plugins), config };
    await callPlugin(call).catch((error: unknown) => errors.push(error));
  }
  if (errors.length > 0) throw errors[0];
}

/**
 * Why the network could not take a container now, in sentences; empty when it could. Plugins of 1.1.0 are asked; of
 * older ones it is known whether they are there and speak the version.
 */
export async function status(network: NetworkConf, plugins: Plugins): Promise<string[]> {
  const problems: string[] = [];
  for (const plugin of network.plugins) {
    try {
      await statusOf(network, plugin, plugins);
    } catch (error) {
      problems.push(messageOf(error));
    }
  }
  return problems;
}

async function statusOf(network: NetworkConf, plugin: PluginConf, plugins: Plugins): Promise<void> {
  for (const type of [plugin.type, ipamOf(plugin)]) {
    if (type !== undefined && findPlugin(type, plugins.dirs) === undefined) {
      throw missingPlugin(network.name, type, plugins.dirs);
    }
  }
  const call = { ...callOf(network, plugin, "VERSION", plugins), config: { cniVersion: network.cniVersion } };
  const answer = await callPlugin(call);
  const supported = isObject(answer) ? answer["supportedVersions"] : undefined;
  if (Array.isArray(supported) && !supported.includes(network.cniVersion)) {
    throw failedPrecondition(
      `network ${network.name}: plugin ${plugin.type} knows CNI up to ${supported.at(-1)}, not ${network.cniVersion}: change the cniVersion of its file`,
    );
  }
  if (isAtLeast(network.cniVersion, "1.1.0")) await run(network, plugin, "STATUS", plugins);
}

/** The plugin that gives addresses, which the main plugin calls by itself. */
export function ipamOf(plugin: PluginConf): string | undefined {
  const ipam = plugin["ipam"];
  const type = isObject(ipam) ? ipam["type"] : undefined;
  return typeof type === "string" && type !== "" ? type : undefined;
}

function run(
  network: NetworkConf,
  plugin: PluginConf,
  command: Command,
  plugins: Plugins,
  target?: Target,
  result?: Result,
): Promise<unknown> {
  const config = { ...configOf(network, plugin, target), ...(result === undefined ? {} : { prevResult: result }) };
  const { containerId, netns, ifName, args } = target ?? {};
  return callPlugin({
    ...callOf(network, plugin, command, plugins),
    config,
    ...(target === undefined ? {} : { containerId, netns, ifName, args }),
  } as Call);
}

function callOf({ name }: NetworkConf, { type }: PluginConf, command: Command, { dirs, timeoutMs }: Plugins) {
  return { network: name, plugin: type, command, dirs, timeoutMs, config: undefined };
}

/** What a plugin is given: its own part, the network's name and version, and the values of the capabilities it has. */
function configOf(network: NetworkConf, plugin: PluginConf, target?: Target): Record<string, unknown> {
  const { capabilities, ...own } = plugin;
  const values = Object.entries(target?.capabilityArgs ?? {}).filter(
    ([name]) => isObject(capabilities) && capabilities[name] === true,
  );
  return {
    ...own,
    ...(capabilities === undefined ? {} : { capabilities }),
    name: network.name,
    cniVersion: network.cniVersion,
    ...(values.length === 0 ? {} : { runtimeConfig: Object.fromEntries(values) }),
  };
}
