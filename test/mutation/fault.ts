/**
 * What a fault is: one thing that a shim does wrong, made by a proxy in front of a good shim, and the checks of the kit
 * that must find it. A hook that a fault does not have does nothing.
 */

import type { Reply, RpcCall } from "./rpc.ts";

/** A binary call of the shim, as the good shim is given it after {@link Fault.call}. */
export interface BinaryCall {
  argv: string[];
  stdin: Uint8Array;
  env: Record<string, string>;
  readonly cwd: string;
  readonly action: string;
  readonly id: string;
  readonly namespace: string;
  /** Number of this call among those of its action in this run of the kit, from 1: the kit's own first start is 1. */
  readonly nth: number;
}

/** What a binary call says. */
export interface BinaryAnswer {
  exitCode: number;
  stdout: Uint8Array;
  stderr: string;
}

/** A good shim that serves, as hooks see it. */
export interface Served {
  readonly call: BinaryCall;
  /** Of the serving process, or of the one that stands in for it. */
  readonly shimPid: number;
  /** The good shim's own. */
  readonly realPid: number;
  /** Where the kit dials; the proxy's. */
  readonly socket: string;
  /** Where the good shim listens. */
  readonly realSocket: string;
  /** What a fault keeps between its hooks. */
  readonly memory: Map<string, unknown>;
}

/** One connection of the kit to the shim. */
export interface Wire {
  readonly served: Served;
  /** Number of the connection, from 1. */
  readonly nth: number;
  /** Sends bytes to the kit as they are. */
  send(bytes: Uint8Array): void;
  /** Ends the connection on both sides. */
  close(): void;
}

/** One event on its way from the shim to the kit. */
export interface ShimEvent {
  topic: string;
  namespace: string;
  /** Seconds since the epoch. */
  seconds: number;
  typeUrl: string;
  /** The fields of the message, by the names of the generated code. */
  body: Record<string, unknown>;
  readonly served: Served;
}

/** Sends an event to the kit, and answers the code of its acknowledgement. @throws Error when the kit is away */
export type Deliver = (event: ShimEvent) => Promise<number>;

/** One thing that is wrong. */
export interface Fault {
  /** What the shim does, in a few words. */
  readonly name: string;
  /** Checks that must fail, by the kit's ids. */
  readonly by: readonly string[];
  /** Checks that may fail as well, ids or globs: without a start, say, there is nothing to check. */
  readonly also?: readonly string[];
  /** A program without which the checks are skipped: the fault is too. */
  readonly needs?: "criu";
  /** Seconds that a check has: short, where the fault is that no answer comes. */
  readonly timeout?: number;

  /** Changes a binary call before the good shim gets it, or answers it instead. */
  readonly call?: (call: BinaryCall) => BinaryAnswer | undefined | Promise<BinaryAnswer | undefined>;
  /** Changes what the good shim has answered. */
  readonly answer?: (answer: BinaryAnswer, call: BinaryCall) => void | Promise<void>;
  /** When the shim serves, before start has answered. */
  readonly serving?: (served: Served) => void;
  /** When the good shim is gone. */
  readonly ended?: (served: Served) => void;
  /** A shell script whose process the shim passes off as its own; the good shim's pid is $SHIM. */
  readonly standIn?: string;

  /** Around each call: answers undefined for no answer at all. */
  readonly rpc?: (call: RpcCall, next: () => Promise<Reply>) => Promise<Reply | undefined>;
  /** Changes what the shim sends, one frame after the other. */
  readonly frame?: (frame: Uint8Array, wire: Wire) => readonly Uint8Array[];
  /** What the kit sends, as it comes; false: it is not passed on. */
  readonly chunk?: (bytes: Uint8Array, wire: Wire) => boolean;
  /** When the kit has closed a connection. */
  readonly closed?: (wire: Wire) => void;
  /** Around each event. Its answer is the code that the good shim is told; undefined for none. */
  readonly event?: (event: ShimEvent, deliver: Deliver) => Promise<number | undefined>;
}
