/**
 * Every limit of time, in milliseconds, in one table. Limits that containerd sets for us (INV-7) are named so.
 */

/** How long things may take before they are given up. */
export const deadlines = {
  /** One Forward of an event, and one connection to containerd (EV-2). */
  forward: 5_000,
  /** Longest pause between two attempts to reach containerd (EV-3). */
  forwardBackoff: 10_000,
  /** Sending what is queued before the shim exits (EV-5). */
  flush: 5_000,
  /** Opening FIFOs, consoles and starting a logger (T-CRE-8). */
  stdio: 30_000,
  /** Output still in pipes when Delete is called (IO-5). */
  drain: 10_000,
  /** An exit is held for unread output: this long without any being read, and this long in all (R17). */
  exitStall: 100,
  exitSettle: 2_000,
  /** Delete waits for unread output this long without any being read; in all as long as for a drain. */
  readerStall: 1_000,
  /** A logger's end after it was asked to stop (IO-3). */
  loggerStop: 12_000,
  /** runc commands that run hooks or user code: create, start, exec, restore, checkpoint. */
  runcStart: 120_000,
  /** All other runc commands. */
  runc: 30_000,
  /** Answers under way when the shim is told to shut down. */
  shutdown: 5_000,
  /** A shim that never got a container, or lost its last one, and whose clients are all gone, ends itself (R09). */
  orphan: 60_000,
  /** After this time without activity memory is given back to the system. */
  trim: 10_000,
  /** The daemon: the binary call `start` of a shim. containerd has no limit; this one is for a machine under load. */
  shimStart: 60_000,
  /** A connection to a shim that said that it listens. */
  shimDial: 5_000,
  /** A shim that was running before the daemon, until it has answered Connect and Pids (INV-7). */
  shimLoad: 5_000,
  /** The binary call `delete` (INV-7). */
  shimCleanup: 5_000,
  /** Shutdown of a shim (INV-7). */
  shimShutdown: 3_000,
  /** State, as the daemon asks for it (INV-7). */
  taskState: 2_000,
  /** A call to a shim that starts something: above the shim's own limits, and those of shims that boot a machine. */
  taskStart: 300_000,
  /** All other calls to a shim but Wait, which has none: above the shim's own limits. */
  taskCall: 120_000,
} as const;
