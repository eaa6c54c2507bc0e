/**
 * What plugins leave when a container's network namespace is gone before they are called: the bridge plugin up to 1.2
 * leaves the masquerading rules of the addresses (containernetworking/plugins 1078), and the host's end of a veth stays
 * while some other process has the namespace. Rules are found by the comments that the plugins write.
 */

import { unavailable } from "../../proto/errdefs.ts";
import { runProgram } from "./program.ts";

/** What to look for. */
export interface Leftovers {
  readonly network: string;
  /** One container's; undefined for all of the network. */
  readonly containerId?: string;
  /** Interfaces of the host, whether they are there or not. */
  readonly interfaces?: readonly string[];
}

/**
 * Removes rules of nat and interfaces. Without iptables there are no rules.
 * @throws ContainerdError Unavailable when a program does not do it
 */
export async function removeLeftovers({ network, containerId, interfaces = [] }: Leftovers): Promise<void> {
  for (const program of ["iptables", "ip6tables"]) await removeRules(program, network, containerId);
  for (const name of interfaces) await removeInterface(name);
}

/** Removes an interface of the host. @returns false when there was none @throws ContainerdError Unavailable */
export async function removeInterface(name: string): Promise<boolean> {
  const { ok, stderr } = await runProgram(["ip", "link", "delete", "dev", name]);
  if (ok) return true;
  if (/Cannot find device/.test(stderr)) return false;
  throw unavailable(`interface ${name} could not be removed: ${stderr.trim() || "apt install iproute2"}`);
}

async function removeRules(program: string, network: string, containerId: string | undefined): Promise<void> {
  const saved = await runProgram([program, "-w", "10", "-t", "nat", "-S"]);
  if (!saved.ok) return;
  const chains = new Set<string>();
  for (const rule of saved.stdout.split("\n").filter((line) => isOf(line, network, containerId))) {
    const words = unquoted(rule);
    const target = words[words.indexOf("-j") + 1];
    if (target?.startsWith("CNI-") && words[1] !== target) chains.add(target);
    // A rule within a chain of the container's own goes with it.
    if (!chains.has(words[1] ?? "")) await mustRun([program, "-w", "10", "-t", "nat", "-D", ...words.slice(1)]);
  }
  for (const chain of chains) {
    await mustRun([program, "-w", "10", "-t", "nat", "-F", chain]);
    await mustRun([program, "-w", "10", "-t", "nat", "-X", chain]);
  }
}

/**
 * True for a rule that the bridge or the portmap plugin made: comments `name: "NET" id: "ID"`, and
 * `dnat name: "NET" id: "ID"`.
 */
export function isOf(rule: string, network: string, containerId: string | undefined): boolean {
  if (!rule.startsWith("-A ")) return false;
  const at = rule.indexOf("--comment ");
  if (at < 0) return false;
  const comment = rule.slice(at).replaceAll("\\", "");
  if (!comment.includes(`name: "${network}" id: "`)) return false;
  return containerId === undefined || comment.includes(`id: "${containerId}"`);
}

/** The words of a rule as iptables -S prints it: in quotes where they have spaces, quotes in them after a backslash. */
export function unquoted(rule: string): string[] {
  const words = rule.match(/"(?:[^"\\]|\\.)*"|\S+/g) ?? [];
  return words.map((word) => (word.startsWith('"') ? word.slice(1, -1).replace(/\\(.)/g, "$1") : word));
}

async function mustRun(argv: readonly string[]): Promise<void> {
  const { ok, stderr } = await runProgram(argv);
  if (!ok) throw unavailable(`${argv.join(" ")}: ${stderr.trim() || "failed"}`);
}
