/** A load of imports, ingests, snapshots, containers, runs, execs, commits and deletes, by chance that can be repeated. */

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Daemon } from "../lib/daemon.ts";
import { GrpcClient } from "../lib/grpc.ts";
import { imageName } from "../lib/image.ts";
import { runtime } from "../lib/paths.ts";
import type { Random } from "../lib/random.ts";
import { type Layered, writeLayered } from "./archive.ts";
import type { Model } from "./model.ts";

/** Label of what no garbage collection may take. */
const root = { "containerd.io/gc.root": "2024-01-01T00:00:00Z" };
const services = {
  containers: "containerd.services.containers.v1.Containers",
  content: "containerd.services.content.v1.Content",
  diff: "containerd.services.diff.v1.Diff",
  events: "containerd.services.events.v1.Events",
  images: "containerd.services.images.v1.Images",
  leases: "containerd.services.leases.v1.Leases",
  snapshots: "containerd.services.snapshots.v1.Snapshots",
  tasks: "containerd.services.tasks.v1.Tasks",
} as const;

/** How a load is made. */
export interface LoadOptions {
  readonly daemon: Daemon;
  readonly model: Model;
  readonly random: Random;
  readonly workers: number;
  /** Containers run, too; without it only what is stored. */
  readonly tasks: boolean;
  /** What all names begin with. */
  readonly prefix?: string;
  /** A registry to push to and to pull from. */
  readonly registry?: string | undefined;
}

/** Digest of bytes, as containerd writes it. */
export function digestOf(bytes: Uint8Array): string {
  return `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
}

/** Workers that call one daemon until they are told to stop; it may die and come back under them. */
export class Load {
  readonly #options: LoadOptions;
  readonly #archives: Layered[];
  #workers: Promise<void>[] = [];
  #stopped = true;
  #names = 0;
  /** Containers that a worker has begun to kill, whether it came to that or not. */
  readonly killed = new Set<string>();
  #client: GrpcClient;
  #former: GrpcClient[] = [];

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#client = new GrpcClient(options.daemon.address);
    const dir = join(options.daemon.dir, "files");
    this.#archives = Array.from({ length: 6 }, (_, at) => writeLayered(dir, `a${at}`, options.random));
  }

  /** The images that are imported, with what must be in them. */
  get archives(): readonly Layered[] {
    return this.#archives;
  }

  start(): void {
    this.#stopped = false;
    const { workers, random } = this.#options;
    this.#workers = Array.from({ length: workers }, () => this.#work(random.fork()));
  }

  /** Lets every call that is under way end, and makes no more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#workers);
    this.#workers = [];
    for (const client of this.#former) client.close();
    this.#former = [];
  }

  /**
   * A new connection: the old one waits before it tries again. That stays until the calls on it have ended: a call that
   * its client gives up may still be done, at any time after.
   */
  reconnect(): GrpcClient {
    this.#former.push(this.#client);
    this.#client = new GrpcClient(this.#options.daemon.address);
    return this.#client;
  }

  get client(): GrpcClient {
    return this.#client;
  }

  close(): void {
    for (const client of [this.#client, ...this.#former]) client.close();
  }

  async #work(random: Random): Promise<void> {
    const steps: [number, (random: Random) => Promise<unknown>][] = [
      [5, (r) => this.#ingest(r)],
      [2, (r) => this.#remove("content", r)],
      [3, (r) => this.#import(r)],
      [1, (r) => this.#remove("image", r)],
      [4, (r) => this.#snapshot(r)],
      [2, (r) => this.#remove("snapshot", r)],
      [3, () => this.#lease()],
      [1, (r) => this.#remove("lease", r)],
      [3, () => this.#container()],
      [1, (r) => this.#remove("container", r)],
    ];
    if (this.#options.tasks) steps.push([4, (r) => this.#run(r)], [3, (r) => this.#exec(r)], [3, (r) => this.#end(r)]);
    if (this.#options.registry !== undefined) steps.push([2, (r) => this.#pull(r)]);
    const weights = steps.flatMap(([weight, step]) => Array.from({ length: weight }, () => step));
    while (!this.#stopped) {
      // A daemon that is away refuses at once: do not spin.
      const { failed } = this.#options.model;
      await random.of(weights)(random);
      if (this.#options.model.failed > failed) await Bun.sleep(5);
    }
  }

  #name(prefix: string): string {
    return `${prefix}${this.#options.prefix ?? ""}${++this.#names}`;
  }

  get #where(): { namespace: string } {
    return { namespace: this.#options.daemon.namespace };
  }

  /** A blob of random bytes, in pieces. */
  async #ingest(random: Random): Promise<void> {
    const data = random.bytes(random.between(1, 64) * 1024);
    const expected = digestOf(data);
    const half = data.length >> 1;
    const ref = this.#name("ingest-");
    const requests = [
      { action: 1, ref, total: data.length, expected, offset: 0, data: data.subarray(0, half) },
      { action: 2, ref, total: data.length, expected, offset: half, data: data.subarray(half), labels: root },
    ];
    await this.#options.model.change(
      `content/${expected}`,
      "present",
      () => within(this.#client.exchange(services.content, "Write", requests, this.#where)),
      String(data.length),
    );
  }

  async #import(random: Random): Promise<void> {
    const archive = random.of(this.#archives);
    await this.#options.model.change(
      `image/${archive.name}`,
      "present",
      async () => {
        const argv = ["images", "import", "--snapshotter", this.#options.daemon.snapshotter, archive.path];
        await this.#options.daemon.ctr(argv, { check: true });
      },
      archive.manifest,
    );
  }

  /** Pushes an image that is there and pulls it by that name. */
  async #pull(random: Random): Promise<void> {
    const { daemon, model, registry } = this.#options;
    const name = model.present("image").find((one) => !one.startsWith("127."));
    const archive = this.#archives.find((one) => one.name === name);
    if (name === undefined || archive === undefined) return;
    const remote = `${registry}/load/${archive.name.replaceAll(/[^a-z0-9]/g, "")}:1`;
    await model.change(
      `image/${remote}`,
      "present",
      async () => {
        if (random.next() < 0.5) await daemon.ctr(["images", "push", "--plain-http", remote, name], { check: true });
        const argv = ["images", "pull", "--plain-http", "--snapshotter", daemon.snapshotter, remote];
        await daemon.ctr(argv, { check: true });
      },
      archive.manifest,
    );
  }

  /** A snapshot with a file in it, committed. */
  async #snapshot(random: Random): Promise<void> {
    const [key, name] = [this.#name("work-"), this.#name("done-")];
    const { daemon, model } = this.#options;
    const snapshotter = daemon.snapshotter;
    const call = (method: "Prepare" | "Commit", request: object): Promise<unknown> =>
      within(this.#client.call(services.snapshots, method, request as never, this.#where));
    let source: string | undefined;
    const parent = random.next() < 0.5 ? "" : (model.present("snapshot")[0] ?? "");
    const prepared = await model.change(`active/${key}`, "present", async () => {
      const answer = await call("Prepare", { snapshotter, key, parent, labels: root });
      const mount = (answer as { mounts: { type: string; source: string; options: string[] }[] }).mounts[0];
      source =
        mount?.type === "bind"
          ? mount.source
          : mount?.options.find((option) => option.startsWith("upperdir="))?.slice("upperdir=".length);
    });
    if (!prepared || source === undefined) return;
    const bytes = random.bytes(random.between(1, 5_000));
    const digest = digestOf(bytes);
    try {
      writeFileSync(join(source, name), bytes);
    } catch {
      return;
    }
    await model.change(
      `snapshot/${name}`,
      "present",
      () =>
        model
          .change(`active/${key}`, "absent", () => call("Commit", { snapshotter, name, key, labels: root }))
          .then((ok) => {
            if (!ok) throw new Error("not committed");
          }),
      `${name}=${digest}`,
    );
  }

  async #lease(): Promise<void> {
    const id = this.#name("lease-");
    await this.#options.model.change(`lease/${id}`, "present", () =>
      within(this.#client.call(services.leases, "Create", { id, labels: { a: "b" } }, this.#where)),
    );
  }

  async #container(): Promise<void> {
    const id = this.#name("record-");
    const container = {
      id,
      image: imageName,
      runtime: { name: runtime },
      spec: {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec",
        value: new TextEncoder().encode("{}"),
      },
      labels: { made: "by-load" },
    };
    await this.#options.model.change(`container/${id}`, "present", () =>
      within(this.#client.call(services.containers, "Create", { container }, this.#where)),
    );
  }

  async #remove(kind: "content" | "image" | "snapshot" | "lease" | "container", random: Random): Promise<void> {
    const all = this.#options.model.present(kind);
    if (all.length < 3) return;
    // The first snapshots may have children.
    const name = kind === "snapshot" ? all.at(-1) : random.of(all);
    if (name === undefined) return;
    const where = this.#where;
    const snapshotter = this.#options.daemon.snapshotter;
    const client = this.#client;
    const call = (): Promise<unknown> => {
      switch (kind) {
        case "content":
          return client.call(services.content, "Delete", { digest: name }, where);
        case "image":
          return client.call(services.images, "Delete", { name, sync: random.next() < 0.3 }, where);
        case "snapshot":
          return client.call(services.snapshots, "Remove", { snapshotter, key: name }, where);
        case "lease":
          return client.call(services.leases, "Delete", { id: name }, where);
        case "container":
          return client.call(services.containers, "Delete", { id: name }, where);
      }
    };
    await this.#options.model.change(`${kind}/${name}`, "absent", () => within(call()));
  }

  /** A container that sleeps, or one that ends by itself with a status that its name tells. */
  async #run(random: Random): Promise<void> {
    const { daemon, model } = this.#options;
    if (model.present("running").length + model.present("ending").length > 8) return await this.#end(random);
    const ends = random.next() < 0.5;
    const status = random.between(1, 100);
    const id = this.#name(ends ? `ends${status}-` : "runs-");
    const log = join(daemon.dir, "files", `${id}.log`);
    const script = ends
      ? `sleep 0.${random.between(0, 5)}; exit ${status}`
      : "i=0; while :; do echo $((i+=1)); sleep 0.1; done";
    await model.change(`${ends ? "ending" : "running"}/${id}`, "present", () =>
      daemon.run(id, ["sh", "-c", script], ["--detach", "--log-uri", `file://${log}`], { check: true }),
    );
  }

  async #exec(random: Random): Promise<void> {
    const all = this.#options.model.present("running");
    if (all.length === 0) return;
    const id = random.of(all);
    const result = await this.#options.daemon.exec(id, ["sh", "-c", "exit 7"], ["--exec-id", this.#name("x")]);
    if (result.exitCode === 7) this.#options.model.done++;
    else this.#options.model.failed++;
  }

  async #end(random: Random): Promise<void> {
    const { daemon, model } = this.#options;
    const kind = random.next() < 0.5 ? "running" : "ending";
    const all = model.present(kind);
    if (all.length < 3) return;
    const id = random.of(all);
    this.killed.add(id);
    await model.change(`${kind}/${id}`, "absent", async () => {
      await daemon.ctr(["tasks", "delete", "--force", id], { check: true });
      await daemon.ctr(["containers", "delete", id], { check: true });
      rmSync(join(daemon.dir, "files", `${id}.log`), { force: true });
    });
  }
}

/** A call's answer, or an error when there is none in time. */
export async function within<T>(call: Promise<T>, ms = 15_000): Promise<T> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([call, late]);
  } finally {
    clearTimeout(timer);
  }
}

export { root, services };
