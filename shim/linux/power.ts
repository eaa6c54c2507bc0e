/** The end of a machine. */

import { check, libc } from "./libc.ts";

const SYS_sync = process.arch === "arm64" ? 81 : 162;
const SYS_reboot = process.arch === "arm64" ? 142 : 169;
const MAGIC = 0xfee1dead;
const MAGIC2 = 672274793;

/** What reboot(2) does. */
export const Power = { restart: 0x01234567, powerOff: 0x4321fedc, keysOff: 0 } as const;

/** Writes all that waits to disk. */
export function syncAll(): void {
  libc.syscall(SYS_sync, 0, 0, 0, 0, 0);
}

/** Ends the machine, or gives Ctrl-Alt-Del to init as SIGINT. Nothing is written to disk before. @throws ErrnoError */
export function reboot(command: number): void {
  check(Number(libc.syscall(SYS_reboot, MAGIC, MAGIC2, command, 0, 0)), "reboot", command);
}

/** Sends a signal to every process but this one, as far as its pid namespace goes. False when there is none. */
export function signalAll(signal: number): boolean {
  return libc.kill(-1, signal) === 0;
}
