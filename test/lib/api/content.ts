/** The calls by which two content services are compared. */

import { status } from "@grpc/grpc-js";
import type { services } from "../../../proto/gen/services.js";
import { containerd } from "../../../proto/gen/supervisor.js";
import { type CallOptions, GrpcClient, isServiceError, type Request } from "../grpc.ts";
import { type Entry, Transcript, textOf } from "./transcript.ts";

const Content = "containerd.services.content.v1.Content";
const Leases = "containerd.services.leases.v1.Leases";
const Events = "containerd.services.events.v1.Events";
type WriteRequest = Request<(typeof services)[typeof Content]["Write"]>;

const { STAT, WRITE, COMMIT } = containerd.services.content.v1.WriteAction;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const digestOf = (text: string): string => `sha256:${new Bun.CryptoHasher("sha256").update(text).digest("hex")}`;

const hello = digestOf("hello");
const wrong = [
  "",
  ":",
  "sha256:",
  "sha256:abc",
  `sha256:${"A".repeat(64)}`,
  "sha256:../../../../etc/passwd",
  `sha512:${"a".repeat(64)}`,
  `md5:${"a".repeat(32)}`,
  "../x",
  `a b:${"c".repeat(64)}`,
  `sha256:${"é".repeat(32)}`,
  "sha256:a\u0000b",
];

/** Runs every call on a daemon without content, and the events of it after them. */
export async function contentTranscript(address: string): Promise<Entry[]> {
  const client = new GrpcClient(address);
  const controller = new AbortController();
  const events: string[] = [];
  const listening = (async () => {
    const filters = [`topic~=^/content/`];
    for await (const { namespace, topic, event } of client.stream(
      Events,
      "Subscribe",
      { filters },
      { signal: controller.signal },
    )) {
      const type = topic === "/content/create" ? containerd.events.ContentCreate : containerd.events.ContentDelete;
      events.push(`${namespace} ${topic} ${event?.type_url} ${textOf(type.decode(event?.value ?? new Uint8Array(0)))}`);
    }
  })();
  try {
    await Bun.sleep(100);
    const calls = new Calls(client);
    await writes(calls);
    await sharing(calls);
    await blobs(calls);
    await ingests(calls);
    await leases(calls);
    await Bun.sleep(200);
    return [...calls.t.entries, ...events.map((answer, at) => ({ call: `event ${at}`, answer }))];
  } finally {
    controller.abort();
    await listening;
    client.close();
  }
}

/** Keeps what nothing else refers to from a collection between two calls. */
const root = { "containerd.io/gc.root": "x" };

const n1: CallOptions = { namespace: "n1" };

class Calls {
  readonly t: Transcript;
  readonly #client: GrpcClient;

  constructor(client: GrpcClient) {
    this.t = new Transcript(client, n1);
    this.#client = client;
  }

  async write(requests: WriteRequest[], options: CallOptions = n1): Promise<void> {
    await this.#note(`Write ${textOf(requests)} ${JSON.stringify(options)}`, async () =>
      this.#client.exchange(Content, "Write", requests, options),
    );
  }

  async read(digest: string, offset = 0, size = 0, options: CallOptions = n1): Promise<void> {
    await this.#note(`Read ${digest} ${offset} ${size} ${JSON.stringify(options)}`, () =>
      Array.fromAsync(this.#client.stream(Content, "Read", { digest, offset, size }, options)),
    );
  }

  async list(filters: string[], options: CallOptions = n1): Promise<void> {
    await this.#note(`List ${filters} ${JSON.stringify(options)}`, () =>
      Array.fromAsync(this.#client.stream(Content, "List", { filters }, options)),
    );
  }

  async #note(call: string, work: () => Promise<unknown>): Promise<void> {
    let answer: string;
    try {
      answer = textOf(await work());
    } catch (error) {
      if (!isServiceError(error)) throw error;
      answer = `${status[error.code]}: ${error.details}`;
    }
    // How long a ref was locked is never the same.
    const same = answer.replace(/locked for .* \(since .*\)/, "locked for TIME");
    this.t.entries.push({ call: `${this.t.entries.length}: ${call}`, answer: same });
  }
}

async function writes(calls: Calls): Promise<void> {
  await calls.write([]);
  await calls.write([{ action: STAT }]);
  await calls.write([{ action: STAT, ref: "r" }], {});
  await calls.write([{ action: STAT, ref: "r" }], { namespace: "a b" });
  await calls.write([{ action: STAT, ref: "r" }]);
  await calls.t.call(Content, "Status", { ref: "r" });
  await calls.write([{ action: WRITE, ref: "r", data: bytes("he") }]);
  await calls.write([
    { action: STAT, ref: "r" },
    { action: WRITE, offset: 2, data: bytes("l") },
  ]);
  await calls.write([{ action: WRITE, ref: "r", offset: 7, data: bytes("l") }]);
  await calls.write([{ action: WRITE, ref: "r", offset: -1, data: bytes("l") }]);
  await calls.t.call(Content, "Status", { ref: "r" });
  await calls.write([{ action: COMMIT, ref: "r", total: 9, offset: 4 }]);
  await calls.write([{ action: COMMIT, ref: "r", expected: hello, offset: 4 }]);
  await calls.write([
    { action: COMMIT, ref: "r", expected: hello, total: 5, offset: 4, data: bytes("o"), labels: root },
  ]);
  await calls.write([{ action: STAT, ref: "r2", total: -5 }, { action: WRITE }, { action: WRITE, data: bytes("x") }]);
  await calls.write([
    { action: WRITE, ref: "r2", data: bytes("y") },
    { action: WRITE, data: bytes("z") },
  ]);
  await calls.write([
    { action: WRITE, ref: "r3", data: bytes("hello"), total: 5 },
    { action: COMMIT, offset: 5, expected: hello, labels: { a: "b", empty: "" } },
  ]);
  await calls.write([{ action: STAT, ref: "r4", expected: hello }]);
  await calls.write([
    { action: STAT, ref: "r4" },
    { action: COMMIT, expected: hello, data: bytes("hello") },
  ]);
  await calls.write([{ action: COMMIT, ref: "r4", data: bytes("hello") }]);
  await calls.t.call(Content, "Status", { ref: "r4" });
  await calls.write([{ action: COMMIT, ref: "empty" }]);
  await calls.write([{ action: COMMIT, ref: "long", data: bytes("long"), labels: { ["k".repeat(5000)]: "v" } }]);
  await calls.t.call(Content, "Status", { ref: "long" });
  for (const expected of wrong) await calls.write([{ action: COMMIT, ref: "bad", expected, data: bytes("bad") }]);
  await calls.write([{ action: COMMIT, ref: "../../x", data: bytes("slashes") }]);
  await calls.write([{ action: COMMIT, ref: "a\u0000b", data: bytes("nul") }]);
  await calls.write([{ action: 7 as 0, ref: "action", data: bytes("what") }]);
  await calls.t.call(Content, "Status", { ref: "action" });
  await calls.write([
    { action: COMMIT, ref: "after", data: bytes("after"), labels: root },
    { action: WRITE, data: bytes("more") },
  ]);
}

async function sharing(calls: Calls): Promise<void> {
  const n2: CallOptions = { namespace: "n2" };
  await calls.list([], n2);
  await calls.write([{ action: STAT, ref: "s", expected: hello, total: 4 }], n2);
  await calls.t.call(Content, "Abort", { ref: "s" }, n2);
  await calls.write([{ action: STAT, ref: "s", expected: hello }], n2);
  await calls.t.call(Content, "ListStatuses", {}, n2);
  await calls.write([{ action: COMMIT, ref: "s", expected: hello, total: 5, offset: 5, labels: root }], n2);
  await calls.list([], n2);
  const n3: CallOptions = { namespace: "n3" };
  await calls.write([{ action: WRITE, ref: "s", expected: hello, offset: 5, data: bytes("world") }], n3);
  await calls.write([{ action: COMMIT, ref: "s", offset: 10, labels: root }], n3);
  await calls.write([{ action: WRITE, ref: "t", expected: hello, data: bytes("new") }], n3);
  await calls.write([{ action: COMMIT, ref: "t", offset: 3, expected: digestOf("new"), labels: root }], n3);
  await calls.write([{ action: COMMIT, ref: "u", expected: hello, total: 7 }], n3);
  await calls.list([], n3);
}

async function blobs(calls: Calls): Promise<void> {
  for (const digest of [...wrong, digestOf("nothing")]) {
    await calls.t.call(Content, "Info", { digest });
    await calls.t.call(Content, "Update", { info: { digest, labels: { a: "b" } } });
    await calls.t.call(Content, "Delete", { digest });
    await calls.read(digest);
  }
  await calls.t.call(Content, "Info", { digest: hello });
  await calls.t.call(Content, "Info", { digest: hello }, {});
  for (const [offset, size] of [
    [0, 0],
    [1, 0],
    [1, 2],
    [0, 5],
    [3, 9],
    [5, 0],
    [5, 1],
    [6, 0],
    [-1, 0],
    [0, -1],
    [-3, 2],
  ] as const) {
    await calls.read(hello, offset, size);
  }
  const update = async (labels: Record<string, string>, paths: string[]) =>
    calls.t.call(Content, "Update", { info: { digest: hello, labels }, updateMask: { paths } });
  await update({ ...root, a: "c", "x.y/z": "1" }, []);
  await update({ "x.y/z": "2", no: "no" }, ["labels.x.y/z"]);
  await update({}, ["labels.a"]);
  await update({ k: "v" }, ["labels.k", "size"]);
  await update({ ...root, k: "v" }, ["labels.k", "labels"]);
  await update({ ["k".repeat(5000)]: "v" }, []);
  await update({ ["k".repeat(5000)]: "v" }, [`labels.${"k".repeat(5000)}`]);
  await calls.t.call(Content, "Update", { info: { digest: hello, labels: {} } });
  await update({ ...root, l: "m" }, []);
  for (const filter of [
    "labels.l==m",
    "labels.l",
    "labels.none",
    `digest==${hello}`,
    "size==5",
    "size",
    "digest",
    "x",
    "==",
    "labels.l==m,digest~=/5d/",
  ]) {
    await calls.list([filter]);
  }
  await calls.list(["labels.l==m", `digest==${digestOf("after")}`]);
  await calls.list([], { namespace: "none" });
  await calls.list([], {});
  await calls.t.call(Content, "Delete", { digest: digestOf("after") });
  await calls.t.call(Content, "Delete", { digest: digestOf("after") });
  await calls.t.call(Content, "Delete", { digest: hello }, {});
}

async function ingests(calls: Calls): Promise<void> {
  await calls.t.call(Content, "Status", { ref: "" });
  await calls.t.call(Content, "Status", { ref: 'no"ne\n' });
  await calls.t.call(Content, "Abort", { ref: "" });
  await calls.t.call(Content, "Abort", { ref: "none" });
  for (const filters of [[], ["ref==r2"], ["ref~=/^b/"], ["x"], ["=="], ["ref==none"]]) {
    await calls.t.call(Content, "ListStatuses", { filters: ["ref==r2", ...filters].slice(filters.length > 0 ? 1 : 0) });
  }
  await calls.t.call(Content, "Abort", { ref: "r2" });
  await calls.t.call(Content, "Abort", { ref: "r2" });
  await calls.t.call(Content, "Status", { ref: "r2" });
  await calls.t.call(Content, "Abort", { ref: "r2" }, {});
}

async function leases(calls: Calls): Promise<void> {
  const leased: CallOptions = { namespace: "n1", lease: "l1" };
  await calls.write([{ action: STAT, ref: "leased" }], leased);
  await calls.t.call(Leases, "Create", { id: "l1" });
  await calls.write([{ action: WRITE, ref: "leased", data: bytes("lea") }], leased);
  await calls.t.call(Leases, "ListResources", { id: "l1" });
  await calls.write([{ action: COMMIT, ref: "leased", offset: 3, data: bytes("sed") }], leased);
  await calls.t.call(Leases, "ListResources", { id: "l1" });
  await calls.write([{ action: STAT, ref: "again", expected: hello }], leased);
  await calls.t.call(Leases, "ListResources", { id: "l1" });
  await calls.write([{ action: STAT, ref: "gone" }], leased);
  await calls.t.call(Content, "Abort", { ref: "gone" }, leased);
  await calls.t.call(Content, "Delete", { digest: digestOf("leased") }, leased);
  await calls.t.call(Leases, "ListResources", { id: "l1" });
}
