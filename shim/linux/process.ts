/** What a process says of itself. */

import { address, check, cstring, libc } from "./libc.ts";

const PR_SET_NAME = 15;

/** Sets the name that ps and top show, at most 15 bytes of it. @throws ErrnoError */
export function setName(name: string): void {
  const bytes = cstring(name);
  check(libc.prctl(PR_SET_NAME, address(bytes), 0, 0, 0), "prctl", "PR_SET_NAME");
}
