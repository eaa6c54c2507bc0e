/** Capabilities of a container's processes. */

import { invalidArgument } from "../../proto/errdefs.ts";
import { nearest } from "../config/nearest.ts";

/** All that Linux has, in the order of their numbers (linux/capability.h). */
export const allCapabilities: readonly string[] = (
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE " +
  "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN " +
  "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE " +
  "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
  .split(" ")
  .map((name) => `CAP_${name}`);

/** Docker's. */
export const defaultCapabilities: readonly string[] = (
  "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL " +
  "AUDIT_WRITE"
)
  .split(" ")
  .map((name) => `CAP_${name}`);

/** What is asked for. */
export interface CapabilityRequest {
  readonly add?: readonly string[];
  readonly drop?: readonly string[];
  readonly privileged?: boolean;
}

/**
 * The capabilities of a container. What is both added and dropped is dropped, unless one of them is `ALL`.
 * @param available the numbers of those that this machine can give, as a set of bits; undefined for all
 * @throws ContainerdError InvalidArgument for a name that is none
 */
export function capabilitiesFor({ add = [], drop = [], privileged }: CapabilityRequest, available?: bigint): string[] {
  const added = new Set(add.map(nameOf));
  const dropped = new Set(drop.map(nameOf));
  const begin = privileged || added.has(ALL) ? allCapabilities : dropped.has(ALL) ? [] : defaultCapabilities;
  const wanted = new Set([...begin, ...[...added].filter((name) => name !== ALL)]);
  for (const name of dropped) wanted.delete(name);
  const canHave = (index: number): boolean => available === undefined || ((available >> BigInt(index)) & 1n) === 1n;
  return allCapabilities.filter((name, index) => wanted.has(name) && canHave(index));
}

const ALL = "ALL";

function nameOf(text: string): string {
  const upper = text.trim().toUpperCase();
  if (upper === ALL) return ALL;
  const name = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
  if (allCapabilities.includes(name)) return name;
  const best = nearest(name, allCapabilities);
  const hint = best === undefined ? "see capabilities(7)" : `did you mean ${best}?`;
  throw invalidArgument(`there is no capability ${JSON.stringify(text.slice(0, 80))}: ${hint}`);
}
