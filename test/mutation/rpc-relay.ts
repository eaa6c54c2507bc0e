/** The relay of calls: each connection of the kit has one of its own to the good shim. */

import { frame, frameType, headerSize } from "../conformance/rig/wire.ts";
import type { Fault, Served, Wire } from "./fault.ts";
import { FrameCutter, readHeader } from "./frames.ts";
import { acceptLinks, dialUpstream, type Link, type LinkEnds, OpenLinks } from "./link.ts";
import { Reply, RpcCall } from "./rpc.ts";

/** @returns a promise of the moment at which all connections have ended */
export function relayCalls(fault: Fault, served: Served): { drained(): Promise<void> } {
  const open = new OpenLinks();
  let count = 0;
  acceptLinks(served.socket, (kit) => {
    open.opened();
    return new CallRelay(fault, served, kit, ++count, () => open.closed());
  });
  return { drained: () => open.none() };
}

class CallRelay implements LinkEnds {
  readonly #fault: Fault;
  readonly #kit: Link;
  readonly #wire: Wire;
  readonly #ended: () => void;
  readonly #fromKit = new FrameCutter();
  readonly #fromShim = new FrameCutter();
  readonly #pending = new Map<number, PromiseWithResolvers<Reply>>();
  readonly #unsent: Uint8Array[] = [];
  #shim: Link | undefined;
  #isOver = false;

  constructor(fault: Fault, served: Served, kit: Link, nth: number, ended: () => void) {
    this.#fault = fault;
    this.#kit = kit;
    this.#ended = ended;
    this.#wire = { served, nth, send: (bytes) => kit.write(bytes), close: () => this.#close() };
    void this.#dial(served.realSocket);
  }

  async #dial(path: string): Promise<void> {
    try {
      const shim = await dialUpstream(path, {
        data: (bytes) => this.#fromShimCame(bytes),
        close: () => this.#kit.close(),
      });
      if (this.#isOver) return shim.close();
      this.#shim = shim;
      for (const bytes of this.#unsent.splice(0)) shim.write(bytes);
    } catch {
      this.#kit.close();
    }
  }

  /** From the kit. */
  data(bytes: Uint8Array): void {
    if (this.#fault.chunk?.(bytes, this.#wire) === false) return;
    for (const found of this.#fromKit.push(bytes)) this.#request(found);
  }

  /** The kit has gone. */
  close(): void {
    this.#isOver = true;
    this.#shim?.close();
    this.#fault.closed?.(this.#wire);
    this.#ended();
  }

  #close(): void {
    this.#kit.close();
    this.#shim?.close();
  }

  #toShim(bytes: Uint8Array): void {
    if (this.#shim === undefined) this.#unsent.push(bytes);
    else this.#shim.write(bytes);
  }

  #request(found: Uint8Array): void {
    const call = this.#read(found);
    if (call === undefined) this.#toShim(found);
    else void this.#relay(call, readHeader(found).flags);
  }

  /** A request that is one; what is not is passed on as it is. */
  #read(found: Uint8Array): RpcCall | undefined {
    if (found.length < headerSize) return undefined;
    const { stream, type, length } = readHeader(found);
    if (type !== frameType.request || length !== found.length - headerSize) return undefined;
    try {
      return new RpcCall(this.#wire, stream, found.slice(headerSize));
    } catch {
      return undefined;
    }
  }

  async #relay(call: RpcCall, flags: number): Promise<void> {
    const next = (): Promise<Reply> => {
      const pending = Promise.withResolvers<Reply>();
      this.#pending.set(call.stream, pending);
      this.#toShim(frame(call.stream, frameType.request, call.envelope, flags));
      return pending.promise;
    };
    const reply = await (this.#fault.rpc?.(call, next) ?? next());
    if (reply === undefined) return;
    const { served } = this.#wire;
    const stands = served.shimPid !== served.realPid && call.is("Connect") && reply.code === 0;
    const told = stands
      ? reply.edited("Connect", (answer) => {
          answer.shimPid = served.shimPid;
        })
      : reply;
    this.#toKit(frame(call.stream, frameType.response, told.envelope));
  }

  #toKit(found: Uint8Array): void {
    for (const bytes of this.#fault.frame?.(found, this.#wire) ?? [found]) this.#kit.write(bytes);
  }

  #fromShimCame(bytes: Uint8Array): void {
    for (const found of this.#fromShim.push(bytes)) {
      const { stream, type, flags } = readHeader(found);
      const pending = this.#pending.get(stream);
      // What is no plain response goes to the kit as it is, for the kit to judge.
      if (pending === undefined || type !== frameType.response || flags !== 0) this.#toKit(found);
      else {
        this.#pending.delete(stream);
        pending.resolve(Reply.read(found.slice(headerSize)));
      }
    }
  }
}
