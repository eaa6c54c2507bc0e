/** Random sessions against a server in another process: each input has the status that the contract says, or none. */

import { join } from "node:path";
import { ttrpc } from "../../proto/gen/ttrpc.js";
import { Client, Code } from "../../proto/ttrpc/index.ts";
import { readMemory } from "../lib/process.ts";
import { frameOf, RawPeer, requestOf, until } from "../unit/proto/ttrpc/wire.ts";
import { Random } from "./ttrpc-random.ts";

const { KeyValue, Request } = ttrpc;

/** Figures of the server's process. */
interface Figures {
  readonly heapSize: number;
  readonly objectCount: number;
  readonly fds: number;
  readonly connections: number;
  readonly inFlight: number;
  /** Resident bytes. */
  readonly rss: number;
}

/** A server in a process of its own. */
export class FuzzServer {
  readonly unix = `@berth-ttrpc-fuzz-${process.pid}-${Math.random().toString(36).slice(2)}`;
  readonly #child = Bun.spawn([process.execPath, join(import.meta.dir, "ttrpc-fuzz-server.ts"), this.unix], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });

  async start(): Promise<void> {
    const { value } = await this.#child.stdout.getReader().read();
    if (value === undefined) throw new Error("the server did not start");
  }

  get hasCrashed(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** The figures, asked for over a new connection. */
  async figures(): Promise<Figures> {
    const client = await Client.connect({ unix: this.unix }, { timeoutMs: 5000 });
    try {
      const { value } = await client.call("f", "Figures", KeyValue, KeyValue, {}, { timeoutMs: 10_000 });
      return { ...JSON.parse(value ?? ""), rss: readMemory(this.#child.pid)?.rss ?? 0 };
    } finally {
      client.close();
    }
  }

  /** Ends it, and returns its exit code. */
  async stop(): Promise<number> {
    this.#child.stdin.end();
    return await this.#child.exited;
  }
}

/** The inputs of one connection, and what must come back. */
class Session {
  readonly parts: Uint8Array[] = [];
  /** Codes that must come, in order, by stream. */
  readonly expected = new Map<number, number[]>();
  /** Streams of which only the end is foreseen. */
  readonly streams = new Set<number>();
  inputs = 0;
  readonly #random: Random;
  #last = 0;
  /** Highest id that the server has admitted: a frame too large is refused before its id is looked at, as Go does. */
  #admitted = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  add(bytes: Uint8Array): void {
    this.parts.push(bytes);
    this.inputs++;
  }

  nextId(isAdmitted = true): number {
    this.#last += this.#random.oneIn(10) ? 2 * (1 + this.#random.below(1000)) : 2;
    if (isAdmitted) this.#admitted = this.#last - 1;
    return this.#last - 1;
  }

  expect(streamId: number, code: number): void {
    const codes = this.expected.get(streamId);
    if (codes === undefined) this.expected.set(streamId, [code]);
    else codes.push(code);
  }

  /** An id that must be refused: even, used, or below a used one. */
  badId(): number {
    const last = this.#admitted;
    if (last < 1 || this.#random.oneIn(2)) return 2 * this.#random.below(0x7fffffff);
    // A stream's id would be told apart from its stream no more.
    const id = 1 + 2 * this.#random.below((last + 1) / 2);
    return this.streams.has(id) ? 2 : id;
  }
}

const message = (key: string) => KeyValue.encode({ key }).finish();
const good = { service: "f", method: "Echo", payload: message("good") };

/** The code with which these bytes are answered as a request for a method that answers at once. */
function codeFor(payload: Uint8Array): number | undefined {
  let request: ttrpc.Request.$Shape;
  try {
    request = Request.decode(payload);
  } catch {
    return Code.InvalidArgument;
  }
  if (request.service !== "f") return Code.Unimplemented;
  if (request.method === "Fail" || request.method === "Echo") {
    try {
      KeyValue.decode(request.payload ?? new Uint8Array(0));
    } catch {
      return Code.Internal;
    }
    return request.method === "Fail" ? Code.FailedPrecondition : Code.OK;
  }
  return ["Later", "Hang", "Down", "Up", "Both", "Figures"].includes(request.method ?? "") ? undefined : 12;
}

/** Adds one input to the session. */
function addInput(session: Session, random: Random): void {
  const kind = random.below(100);
  if (kind < 12) {
    const id = session.nextId();
    session.add(requestOf(id, { ...good, method: random.pick(["Echo", "Later"]) }, random.below(8)));
    session.expect(id, Code.OK);
  } else if (kind < 45) {
    const request = { ...good, timeoutNano: random.u32() * random.u32(), metadata: [{ key: "k", value: "v" }] };
    const payload = random.mutate(Request.encode(request).finish());
    const code = codeFor(payload);
    if (code === undefined) return;
    const id = session.nextId();
    session.add(frameOf(id, 1, random.below(256), payload));
    session.expect(id, code);
  } else if (kind < 52) {
    const payload = random.bytes(random.below(random.pick([10, 100, 5000])));
    const code = codeFor(payload);
    if (code === undefined) return;
    const id = session.nextId();
    session.add(frameOf(id, 1, 0, payload));
    session.expect(id, code);
  } else if (kind < 60) {
    const id = session.badId();
    session.add(requestOf(id, good));
    session.expect(id, Code.InvalidArgument);
  } else if (kind < 66) {
    const id = session.nextId();
    const [service, method] = random.pick([
      ["f", "Absent"],
      ["g", "Echo"],
      ["", ""],
      ["__proto__", "toString"],
    ]);
    session.add(requestOf(id, { service: service ?? "", method: method ?? "" }));
    session.expect(id, Code.Unimplemented);
  } else if (kind < 72) {
    const id = session.nextId();
    session.add(requestOf(id, { ...good, method: random.pick(["Echo", "Fail"]), payload: Uint8Array.of(0x0a, 0xff) }));
    session.expect(id, Code.Internal);
  } else if (kind < 80) {
    const type = random.pick([0, 2, 4 + random.below(252)]);
    session.add(frameOf(random.u32(), type, random.below(256), random.bytes(random.below(200))));
  } else if (kind < 86) {
    // Data for a stream that is not there: far above every id of the session.
    const id = 0x8000_0000 + random.below(0x7fff_ffff);
    session.add(frameOf(id, 3, random.below(8), random.bytes(random.below(20))));
    session.expect(id, Code.InvalidArgument);
  } else if (kind < 87) {
    const id = session.nextId();
    session.add(requestOf(id, { ...good, method: "Hang", timeoutNano: random.pick([-1, 1, 1000, 1e6]) }));
    session.expect(id, Code.DeadlineExceeded);
  } else if (kind < 97) {
    addStream(session, random);
  } else if (random.oneIn(600)) {
    const id = session.nextId(false);
    session.add(frameOf(id, random.pick([1, 3]), 0, new Uint8Array((4 << 20) + 1 + random.below(1 << 20))));
    session.expect(id, Code.ResourceExhausted);
  }
}

/** A stream with good, broken and misplaced data frames; whatever they do, it ends. */
function addStream(session: Session, random: Random): void {
  const id = session.nextId();
  session.streams.add(id);
  const method = random.pick(["Down", "Up", "Both"]);
  session.add(requestOf(id, { ...good, method }, random.pick([0, 1, 2, random.below(256)])));
  for (let i = random.below(6); i > 0; i--) {
    const payload = random.oneIn(4) ? random.bytes(random.below(30)) : message("data");
    session.add(frameOf(id, 3, random.oneIn(3) ? random.below(256) : 0, payload));
  }
  session.add(frameOf(id, 3, 5, new Uint8Array(0)));
}

async function runSession(unix: string, session: Session, random: Random, label: string): Promise<void> {
  const peer = await RawPeer.connect(unix);
  try {
    const last = session.nextId();
    session.add(requestOf(last, good));
    session.expect(last, Code.OK);
    const bytes = Buffer.concat(session.parts);
    const slow = bytes.length < 5000 && random.oneIn(20);
    for (const chunk of random.split(bytes)) {
      peer.send(chunk);
      if (slow) await Bun.sleep(0);
    }
    const open = new Set(session.streams);
    let missing = [...session.expected.values()].reduce((sum, codes) => sum + codes.length, 0);
    const check = () => {
      for (const frame of peer.frames.splice(0)) {
        const isEnd = frame.type === 2 || (frame.flags & 1) !== 0;
        if (session.streams.has(frame.streamId)) {
          if (isEnd) open.delete(frame.streamId);
          continue;
        }
        const code = frame.type === 2 ? (ttrpc.Response.decode(frame.payload).status?.code ?? 0) : -1;
        const expected = session.expected.get(frame.streamId);
        const at = expected?.indexOf(code) ?? -1;
        if (expected === undefined || at < 0) {
          throw new Error(`${label}: stream ${frame.streamId} was answered ${code}, expected ${expected ?? "nothing"}`);
        }
        expected.splice(at, 1);
        missing--;
      }
      return missing === 0 && open.size === 0;
    };
    const waiting = () =>
      [...session.expected]
        .filter(([, codes]) => codes.length > 0)
        .slice(0, 5)
        .map((entry) => entry.join(":"));
    await until(check, "all answers", 10_000).catch((error: unknown) => {
      throw new Error(`${label}: ${missing} answers (${waiting()}) and ${open.size} streams missing: ${error}`);
    });
    if (random.oneIn(3)) peer.send(brokenEnd(random));
  } finally {
    peer.close();
  }
}

/** What is cut off by the end of the connection: half a header, half a frame, the head of an endless payload. */
function brokenEnd(random: Random): Uint8Array {
  const frame = requestOf(0x7fff_ffff, { ...good, payload: random.bytes(random.below(2000)) });
  if (random.oneIn(3)) new DataView(frame.buffer).setUint32(0, random.u32());
  return frame.subarray(0, random.below(frame.length));
}

/**
 * Feeds `inputs` inputs or more to the server, some hundred a connection; each connection begins and ends with a good
 * call that must be answered.
 * @throws Error when an answer is wrong or missing, the server's process ends, or it keeps memory, descriptors or calls
 */
export async function fuzzServer(
  seed: number,
  inputs: number,
): Promise<{ inputs: number; before: Figures; after: Figures }> {
  const random = new Random(seed);
  const server = new FuzzServer();
  await server.start();
  let before: Figures | undefined;
  let after: Figures;
  let done = 0;
  let code = -1;
  try {
    for (let round = 0; done < inputs; round++) {
      const label = `seed ${seed}, round ${round}`;
      const session = new Session(random);
      const first = session.nextId();
      session.add(requestOf(first, good));
      session.expect(first, Code.OK);
      for (let i = random.below(random.pick([5, 200, 1500])); i > 0; i--) addInput(session, random);
      await runSession(server.unix, session, random, label);
      done += session.inputs;
      if (random.oneIn(10)) {
        const garbage = await RawPeer.connect(server.unix);
        garbage.send(...random.split(random.bytes(random.below(20_000))));
        if (random.oneIn(2)) await Bun.sleep(1);
        garbage.close();
        done++;
      }
      if (server.hasCrashed) throw new Error(`${label}: the server's process has ended`);
      // The first fifth warms the server up: code is compiled, buffers have found their size.
      if (before === undefined && done > inputs / 5) before = await server.figures();
    }
    await until(() => !server.hasCrashed, "the server lives");
    after = await server.figures();
    for (let i = 0; i < 50 && (after.connections > 1 || after.inFlight > 1); i++) {
      await Bun.sleep(20);
      after = await server.figures();
    }
  } finally {
    code = await server.stop();
  }
  if (code !== 0) throw new Error(`seed ${seed}: the server's process ended with ${code}`);
  return { inputs: done, before: before ?? after, after };
}
