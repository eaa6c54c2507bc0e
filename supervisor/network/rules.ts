/**
 * The rules of iptables that are the same for every container of a network that berth made: once for the network, in one
 * transaction of iptables-restore. The plugins bridge (ipMasq) and firewall make them anew for each container, with 35
 * calls of iptables and half a second of CPU: a node with 50 containers would wait for them at boot. What is special to a
 * container, its published ports, is left to the plugin portmap.
 *
 * For each network a chain of nat and one of filter, each with one jump to it:
 * - what leaves the subnet is masqueraded, but for multicast;
 * - containers of the network reach each other, and what is outside; answers and published ports come in, whatever the
 *   policy of FORWARD (docker's is DROP);
 * - other networks of berth's do not reach it, but for published ports; an internal network has nothing but itself.
 */

import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { failedPrecondition, messageOf, unavailable } from "../../proto/errdefs.ts";
import { type Cidr, cidrText } from "./cidr.ts";
import { isObject, type NetworkConf } from "./cni/conf.ts";
import { bridgePattern } from "./conflist.ts";
import type { NetworkPaths } from "./paths.ts";
import { type Ended, hasProgram, runProgram } from "./program.ts";
import { subnetsOf } from "./subnet.ts";

/** Rules that were looked at so lately are taken to be there: milliseconds. */
const TRUST_MS = 10_000;

/** One rule, without the chain. */
interface Jump {
  readonly table: "nat" | "filter";
  readonly from: "POSTROUTING" | "FORWARD";
  readonly rule: string;
  readonly to: string;
}

/** What one network has in one family of addresses. */
export interface NetworkRules {
  readonly program: "iptables" | "ip6tables";
  readonly chains: readonly { table: "nat" | "filter"; name: string; rules: readonly string[] }[];
  readonly jumps: readonly Jump[];
}

/** True for a network whose rules are ours and not those of plugins. */
export function hasSharedRules({ berth, plugins }: NetworkConf): boolean {
  return berth?.bridge !== undefined && plugins[0]?.type === "bridge";
}

/** What plugins are left with where the rules are shared; the file stays as it is, for other runtimes. */
export function withoutRules(conf: NetworkConf, hasPorts: boolean): NetworkConf {
  const plugins = conf.plugins
    .filter(({ type }) => type !== "firewall" && (hasPorts || type !== "portmap"))
    .map((plugin) => (plugin.type === "bridge" ? { ...plugin, ipMasq: false } : plugin));
  return { ...conf, plugins };
}

/** The rules of a network. */
export function rulesOf(conf: NetworkConf): NetworkRules[] {
  const bridge = conf.berth?.bridge ?? "";
  const [main] = conf.plugins;
  const subnets = subnetsOf(conf);
  return ([4, 6] as const).flatMap((family) => {
    const own = subnets.filter((subnet) => subnet.family === family);
    if (own.length === 0) return [];
    const forward = { ...chainNames(conf.name), bridge, internal: conf.berth?.internal === true };
    return familyRules(conf.name, family, own, forward, isObject(main) && main["ipMasq"] === true);
  });
}

function familyRules(
  network: string,
  family: 4 | 6,
  subnets: readonly Cidr[],
  { nat, filter, bridge, internal }: { nat: string; filter: string; bridge: string; internal: boolean },
  isMasqueraded: boolean,
): NetworkRules {
  const comment = `-m comment --comment "berth network ${network}"`;
  const multicast = family === 4 ? "224.0.0.0/4" : "ff00::/8";
  const texts = subnets.map(cidrText);
  const natRules = [...texts.map((subnet) => `-d ${subnet} -j ACCEPT`), `! -d ${multicast} -j MASQUERADE`];
  const inside = `-i ${bridge} -o ${bridge} -j ACCEPT`;
  const filterRules = internal
    ? [inside, `-i ${bridge} -j DROP`, `-o ${bridge} -j DROP`]
    : [
        inside,
        `-o ${bridge} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT`,
        `-i ${bridgePattern} -o ${bridge} -j DROP`,
        `-i ${bridge} ! -o ${bridgePattern} -j ACCEPT`,
      ];
  const from = texts.map((subnet) => `-s ${subnet} ${comment}`);
  return {
    program: family === 4 ? "iptables" : "ip6tables",
    chains: [
      ...(isMasqueraded ? [{ table: "nat" as const, name: nat, rules: natRules }] : []),
      { table: "filter", name: filter, rules: filterRules },
    ],
    jumps: [
      ...(isMasqueraded ? from : []).map((rule) => ({
        ...{ table: "nat" as const, from: "POSTROUTING" as const, rule, to: nat },
      })),
      { table: "filter", from: "FORWARD", rule: comment, to: filter },
    ],
  };
}

/** Names of chains have 28 characters at most. */
function chainNames(network: string): { nat: string; filter: string } {
  const hash = new Bun.CryptoHasher("sha256").update(network).digest("hex").slice(0, 16);
  return { nat: `BERTH-N-${hash}`, filter: `BERTH-F-${hash}` };
}

/**
 * Makes the rules of a network, unless they are there. To be called with the network's lock.
 * @param trust take rules that were looked at a moment ago to be there
 * @throws ContainerdError FailedPrecondition without iptables; Unavailable when it fails
 */
export async function ensureRules(paths: Pick<NetworkPaths, "run">, conf: NetworkConf, trust = true): Promise<void> {
  if (!hasSharedRules(conf)) return;
  const rules = rulesOf(conf);
  const text = JSON.stringify(rules);
  const mark = markPath(paths, conf.name);
  const isKnown = readIfThere(mark) === text;
  if (trust && isKnown && ageOf(mark) < TRUST_MS) return;
  if (!isKnown || (await missingRules(conf)).length > 0) {
    for (const family of rules) await apply(family);
  }
  mkdirSync(join(paths.run, "rules"), { recursive: true, mode: 0o700 });
  writeFileSync(mark, text, { mode: 0o600 });
}

/** Which rules of a network are not there, in sentences. Chains are not read rule by rule: the jumps to them are. */
export async function missingRules(conf: NetworkConf): Promise<string[]> {
  if (!hasSharedRules(conf)) return [];
  const missing: string[] = [];
  for (const { program, jumps } of rulesOf(conf)) {
    for (const { table, from, rule, to } of jumps) {
      const { ok } = await runProgram(argumentsOf(program, table, `-C ${from} ${rule} -j ${to}`));
      if (!ok) missing.push(`network ${conf.name}: ${program} has no rule in ${from} of ${table} that leads to ${to}`);
    }
  }
  return missing;
}

/** Takes the rules of a network away. @throws ContainerdError Unavailable */
export async function removeRules(paths: Pick<NetworkPaths, "run">, conf: NetworkConf): Promise<void> {
  rmSync(markPath(paths, conf.name), { force: true });
  if (!hasSharedRules(conf)) return;
  for (const { program, chains, jumps } of rulesOf(conf)) {
    if (!hasProgram(program)) continue;
    // Each may be gone: then there is nothing to remove.
    for (const { table, from, rule, to } of jumps) {
      await runProgram(argumentsOf(program, table, `-D ${from} ${rule} -j ${to}`));
    }
    for (const { table, name } of chains) {
      await runProgram(argumentsOf(program, table, `-F ${name}`));
      const { ok, stderr } = await runProgram(argumentsOf(program, table, `-X ${name}`));
      if (!ok && !/No chain|does not exist|No such file/i.test(stderr)) {
        throw unavailable(`chain ${name} of ${table} could not be removed: ${stderr.trim()}`);
      }
    }
  }
}

async function apply({ program, chains, jumps }: NetworkRules): Promise<void> {
  if (!hasProgram(program)) {
    throw failedPrecondition(`${program} is not installed, and networks of containers need it: apt install iptables`);
  }
  const missing: Jump[] = [];
  for (const jump of jumps) {
    const { ok } = await runProgram(argumentsOf(program, jump.table, `-C ${jump.from} ${jump.rule} -j ${jump.to}`));
    if (!ok) missing.push(jump);
  }
  const tables = (["nat", "filter"] as const).map((table) => tableText(table, { chains, jumps: missing }));
  let ended: Ended;
  try {
    ended = await runProgram([`${program}-restore`, "--noflush", "--wait", "10"], tables.join(""));
  } catch (error) {
    throw unavailable(`${program}-restore: ${messageOf(error)}`);
  }
  if (!ended.ok) {
    throw unavailable(
      `${program}-restore failed: ${ended.stderr.trim().replace(/\s+/g, " ")}: the kernel may lack nf_tables, nft_compat, xt_comment, xt_conntrack or xt_MASQUERADE`,
    );
  }
}

/** A table as iptables-restore reads it: a chain that is declared is made, or emptied. */
function tableText(table: "nat" | "filter", { chains, jumps }: Pick<NetworkRules, "chains" | "jumps">): string {
  const own = chains.filter((chain) => chain.table === table);
  if (own.length === 0) return "";
  const lines = [
    `*${table}`,
    ...own.map(({ name }) => `:${name} - [0:0]`),
    ...own.flatMap(({ name, rules }) => rules.map((rule) => `-A ${name} ${rule}`)),
    // Before whatever rejects the rest; after those of portmap, which are put first.
    ...jumps
      .filter((jump) => jump.table === table)
      .map(({ from, rule, to }) => `${from === "FORWARD" ? "-I" : "-A"} ${from} ${rule} -j ${to}`),
    "COMMIT",
  ];
  return `${lines.join("\n")}\n`;
}

function argumentsOf(program: string, table: string, rule: string): string[] {
  const words = rule.match(/"[^"]*"|\S+/g) ?? [];
  return [program, "-w", "10", "-t", table, ...words.map((word) => word.replaceAll('"', ""))];
}

function markPath({ run }: Pick<NetworkPaths, "run">, network: string): string {
  return join(run, "rules", network);
}

/** Milliseconds since the file was written; as good as for ever when the clock was put back. */
function ageOf(path: string): number {
  const age = Date.now() - statSync(path).mtimeMs;
  return age < 0 ? Number.POSITIVE_INFINITY : age;
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
