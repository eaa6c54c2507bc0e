/** What to say where a daemon lacks what a verb needs. */

import { lacksTransfer } from "../../client/transfer.ts";

/** The error, or one line about it when the daemon has no Transfer service. */
export function withoutTransfer(error: unknown): unknown {
  return lacksTransfer(error)
    ? new Error("this daemon is too old for it: it needs containerd 1.7 or later, or berthd (its Transfer service)")
    : error;
}
