/** What a process says of itself. */

import { address, check, cstring, libc } from "./libc.ts";

const PR_SET_NAME = 15;
const PR_SCHED_CORE = 62;
const PR_SCHED_CORE_CREATE = 1;
const PIDTYPE_PGID = 2;

/** Sets the name that ps and top show, at most 15 bytes of it. @throws ErrnoError */
export function setName(name: string): void {
  const bytes = cstring(name);
  check(libc.prctl(PR_SET_NAME, address(bytes), 0, 0, 0), "prctl", "PR_SET_NAME");
}

/**
 * Gives this process's group a core scheduling domain of its own, which its children inherit (ST-9; containerd asks for
 * it by SCHED_CORE in the environment). @throws ErrnoError
 */
export function shareCore(): void {
  check(libc.prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, PIDTYPE_PGID, 0), "prctl", "PR_SCHED_CORE");
}
