/** What init says: lines on stderr, in the form of the daemon's log. It has no log of its own: it must not block on one. */

import { writeSome } from "../../shim/linux/index.ts";

/** Says a line. Never throws: init goes on without anybody who listens. */
export function say(level: "info" | "warning" | "error", text: string): void {
  const time = new Date().toISOString();
  const line = `time="${time}" level=${level} msg=${JSON.stringify(`init: ${text}`)}\n`;
  try {
    writeSome(2, new TextEncoder().encode(line));
  } catch {
    // Nobody listens.
  }
}
