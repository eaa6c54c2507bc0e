/**
 * A channel: one connection's frames, in both directions. Bytes from the socket go through the frame decoder to a
 * handler; frames to the peer go through a write queue, in order, each whole.
 *
 * Bounds: reading stops while someone holds the channel ({@link Channel.hold}), to the frame exactly; the write queue
 * never exceeds `maxQueuedBytes`, past which the peer is taken for dead and the channel destroyed.
 */

import { FrameDecoder, type FrameSink } from "./frame.ts";
import { Code, TtrpcError } from "./status.ts";

/** What a channel needs of a socket; Bun's sockets are this. */
export interface Transport {
  /** Takes as many bytes as it can without waiting, and says how many; negative when the socket is closed. */
  write(bytes: Uint8Array): number;
  pause(): unknown;
  resume(): unknown;
  /** Says that nothing more is sent, and lets the peer close. */
  end(): unknown;
  /** Closes at once. */
  terminate(): unknown;
  ref(): unknown;
  unref(): unknown;
}

/** Who a channel hands its frames to. */
export interface ChannelHandler extends FrameSink {
  /** The connection is gone; called once, and nothing after it. */
  disconnected(error: Error | undefined): void;
  /** The write queue, which had been full, is short again. */
  drained?(): void;
}

/** Someone who waits until the write queue is short again. */
export interface DrainWaiter {
  drained(): void;
}

/** Queued bytes from which senders are asked to wait. */
export const HIGH_WATER = 1 << 20;
/** Queued bytes below which they may go on. */
const LOW_WATER = 256 << 10;
/** Milliseconds that an ended connection waits for its peer to close. */
const LINGER_MS = 200;
/** Queued bytes past which a connection is given up, unless the owner says otherwise. */
export const MAX_QUEUED_BYTES = 256 << 20;

/** One connection. Made by the transport; used by a server's connection or a client. */
export class Channel {
  readonly #transport: Transport;
  readonly #decoder: FrameDecoder;
  readonly #maxQueuedBytes: number;
  readonly #handler: ChannelHandler;
  #queue: Uint8Array[] = [];
  #queued = 0;
  /** Bytes that came before a hold took effect. */
  #backlog: Uint8Array[] | undefined;
  #waiters: Set<DrainWaiter> | undefined;
  #holds = 0;
  #decoding = false;
  #full = false;
  #linger: ReturnType<typeof setTimeout> | undefined;
  #state: "open" | "ending" | "closed" = "open";

  constructor(transport: Transport, handler: ChannelHandler, maxQueuedBytes: number = MAX_QUEUED_BYTES) {
    this.#transport = transport;
    this.#handler = handler;
    this.#decoder = new FrameDecoder(handler);
    this.#maxQueuedBytes = maxQueuedBytes;
  }

  /** True until {@link end}, {@link destroy} or the peer closes it. */
  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Bytes that wait to be written. */
  get queuedBytes(): number {
    return this.#queued;
  }

  /** True while senders should wait. */
  get isFull(): boolean {
    return this.#full;
  }

  /**
   * Sends a whole frame, after those sent before. Never waits: what the socket does not take is queued.
   * @returns false when the channel is closed, or closed by this
   */
  send(frame: Uint8Array): boolean {
    if (this.#state !== "open") return false;
    if (this.#queue.length > 0) {
      this.#enqueue(frame);
      return this.isOpen;
    }
    const written = this.#transport.write(frame);
    if (written < 0) return false;
    if (written < frame.length) this.#enqueue(written === 0 ? frame : frame.subarray(written));
    return this.isOpen;
  }

  #enqueue(bytes: Uint8Array): void {
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    if (this.#queued > this.#maxQueuedBytes) {
      this.destroy(new TtrpcError(Code.Unavailable, `the peer has left ${this.#queued} bytes unread`));
    } else if (this.#queued > HIGH_WATER) {
      this.#full = true;
    }
  }

  /** Calls `waiter.drained()` once, when the queue is short again or the channel is closed. */
  whenDrained(waiter: DrainWaiter): void {
    this.#waiters ??= new Set();
    this.#waiters.add(waiter);
  }

  /** Takes back a {@link whenDrained}. */
  forget(waiter: DrainWaiter): void {
    this.#waiters?.delete(waiter);
  }

  /** Stops reading, after the frame at hand, until each hold has been released. */
  hold(): void {
    if (this.#holds++ > 0) return;
    this.#decoder.pause();
    if (this.#state === "open") this.#transport.pause();
  }

  /** Ends one {@link hold}. */
  release(): void {
    if (--this.#holds > 0) return;
    this.#decoder.resume();
    if (!this.#decoding) this.#readBacklog();
    if (this.#holds === 0 && this.#state === "open") this.#transport.resume();
  }

  #readBacklog(): void {
    while (this.#backlog !== undefined && this.#holds === 0) {
      const backlog = this.#backlog;
      this.#backlog = undefined;
      for (const chunk of backlog) this.received(chunk);
    }
  }

  /** The socket's bytes, in order. To be called by the transport. */
  received(chunk: Uint8Array): void {
    if (this.#state !== "open") return;
    if (this.#holds > 0) {
      this.#backlog ??= [];
      this.#backlog.push(chunk);
      return;
    }
    let taken = 0;
    this.#decoding = true;
    try {
      // A sink may hold and release within one frame, so the decoder is asked until it really is held.
      while (taken < chunk.length && this.#holds === 0 && this.isOpen) {
        taken += this.#decoder.push(taken === 0 ? chunk : chunk.subarray(taken));
      }
    } finally {
      this.#decoding = false;
    }
    if (taken < chunk.length && this.isOpen) {
      this.#backlog ??= [];
      this.#backlog.unshift(chunk.subarray(taken));
    }
  }

  /** The socket takes bytes again. To be called by the transport. */
  writable(): void {
    let done = 0;
    for (const bytes of this.#queue) {
      const written = this.#transport.write(bytes);
      if (written < 0) break;
      this.#queued -= written;
      if (written < bytes.length) {
        this.#queue[done] = bytes.subarray(written);
        break;
      }
      done++;
    }
    if (done > 0) this.#queue.splice(0, done);
    if (this.#state === "ending" && this.#queue.length === 0) this.#endTransport();
    else if (this.#full && this.#queued < LOW_WATER) this.#wake();
  }

  #wake(): void {
    this.#full = false;
    const waiters = this.#waiters;
    this.#waiters = undefined;
    this.#handler.drained?.();
    if (waiters) for (const waiter of waiters) waiter.drained();
  }

  /**
   * Closes once everything queued has been written and the peer has closed, or has had 200 ms to; nothing more is read
   * or sent.
   */
  end(): void {
    if (this.#state !== "open") return;
    this.#state = "ending";
    this.#backlog = undefined;
    // Without reading on, the peer's close would not be seen.
    if (this.#holds > 0) this.#transport.resume();
    if (this.#queue.length === 0) this.#endTransport();
  }

  #endTransport(): void {
    this.#transport.end();
    this.#linger ??= setTimeout(() => this.destroy(), LINGER_MS);
  }

  /** Closes at once; what is queued is lost. */
  destroy(error?: Error): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#transport.terminate();
    this.#release(error);
  }

  /** The socket is gone. To be called by the transport. */
  socketClosed(error?: Error): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#release(error);
  }

  #release(error: Error | undefined): void {
    clearTimeout(this.#linger);
    this.#queue = [];
    this.#queued = 0;
    this.#backlog = undefined;
    this.#decoder.pause();
    this.#handler.disconnected(error);
    this.#wake();
  }

  /** Lets the process live for the sake of this connection (the default), or not. */
  keepAlive(yes: boolean): void {
    if (yes) this.#transport.ref();
    else this.#transport.unref();
  }
}
