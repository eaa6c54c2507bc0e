/** A client of berthd that needs nothing but its socket: what `ctr` does for an image and a container, call by call. */

import { open } from "node:fs/promises";
import { join } from "node:path";
import { containerd } from "../../proto/gen/supervisor.js";
import { run } from "../lib/command.ts";
import { type CallOptions, GrpcClient } from "../lib/grpc.ts";
import { type ImageBlob, makeImage } from "../lib/image.ts";

/** Longest piece of a blob in one message. */
const PIECE = 1 << 20;
/** Names of types in an Any, as containerd's clients write them. */
const specType = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
const processType = "types.containerd.io/opencontainers/runtime-spec/1/Process";

const Content = "containerd.services.content.v1.Content";
const Snapshots = "containerd.services.snapshots.v1.Snapshots";
const Tasks = "containerd.services.tasks.v1.Tasks";
const Leases = "containerd.services.leases.v1.Leases";

/** What happened to a task, and when. */
export interface DemoEvent {
  readonly topic: string;
  /** Milliseconds since 1970, with fractions. */
  readonly at: number;
  readonly details: Readonly<Record<string, unknown>>;
}

/** One connection, for one namespace. */
export class DemoClient {
  readonly #grpc: GrpcClient;
  readonly #namespace: string;
  readonly #snapshotter: string;
  readonly #stop = new AbortController();
  #events: DemoEvent[] = [];
  #waiting: (() => void) | undefined;

  constructor(address: string, namespace: string, snapshotter: string) {
    this.#grpc = new GrpcClient(address);
    this.#namespace = namespace;
    this.#snapshotter = snapshotter;
  }

  get #options() {
    return { namespace: this.#namespace };
  }

  /** The version that the daemon says. */
  async version(): Promise<string> {
    return (await this.#grpc.call("containerd.services.version.v1.Version", "Version", {})).version;
  }

  /** Begins to take note of the events of tasks. */
  async watch(): Promise<void> {
    await this.#grpc.call("containerd.services.namespaces.v1.Namespaces", "Create", {
      namespace: { name: this.#namespace },
    });
    void this.#read().catch(() => undefined);
    // A subscription has no sign of its own: publish until one comes.
    for (let tries = 0; this.#events.length === 0 && tries < 500; tries++) {
      await this.#grpc.call(
        "containerd.services.events.v1.Events",
        "Publish",
        { topic: "/tasks/probe", event: { type_url: "containerd.events.TaskStart", value: new Uint8Array(0) } },
        this.#options,
      );
      await Bun.sleep(10);
    }
    this.#events = [];
  }

  async #read(): Promise<void> {
    const filters = [`namespace==${this.#namespace},topic~=^/tasks/`];
    const { signal } = this.#stop;
    for await (const { topic, timestamp, event } of this.#grpc.stream(
      "containerd.services.events.v1.Events",
      "Subscribe",
      { filters },
      { signal },
    )) {
      const at = Number(timestamp?.seconds ?? 0) * 1000 + (timestamp?.nanos ?? 0) / 1e6;
      this.#events.push({ topic, at, details: detailsOf(event?.type_url ?? "", event?.value ?? new Uint8Array(0)) });
      this.#waiting?.();
    }
  }

  /** Waits for an event, and gives all that came until then but the probes. @throws Error after ten seconds */
  async until(topic: string): Promise<DemoEvent[]> {
    const end = performance.now() + 10_000;
    while (!this.#events.some((event) => event.topic === topic)) {
      if (performance.now() > end) throw new Error(`the event ${topic} did not come`);
      await Promise.race([new Promise<void>((resolve) => (this.#waiting = resolve)), Bun.sleep(1000)]);
    }
    return this.#events.filter((event) => event.topic !== "/tasks/probe");
  }

  /** Makes the image of busybox, stores and unpacks it. @returns bytes of its blobs */
  async loadImage(name: string): Promise<number> {
    const { layer, config, manifest } = makeImage();
    const lease = (await this.#grpc.call(Leases, "Create", { id: "demo" }, this.#options)).lease?.id;
    const options = { ...this.#options, lease: lease ?? undefined };
    await this.#write(layer, {}, options);
    await this.#write(config, { [`containerd.io/gc.ref.snapshot.${this.#snapshotter}`]: layer.digest }, options);
    const children = {
      "containerd.io/gc.ref.content.config": config.digest,
      "containerd.io/gc.ref.content.l.0": layer.digest,
    };
    await this.#write(manifest, children, options);
    await this.#unpack(layer, options);
    const { mediaType, digest, size } = manifest;
    await this.#grpc.call(
      "containerd.services.images.v1.Images",
      "Create",
      { image: { name, target: { mediaType, digest, size } } },
      options,
    );
    await this.#grpc.call(Leases, "Delete", { id: "demo" }, this.#options);
    return layer.size + config.size + manifest.size;
  }

  async #write(blob: ImageBlob, labels: Record<string, string>, options: CallOptions): Promise<void> {
    const { body, digest, size } = blob;
    const common = { ref: `demo-${digest}`, total: size, expected: digest };
    const pieces = [];
    for (let offset = 0; offset < size; offset += PIECE) {
      pieces.push({ ...common, action: 1, offset, data: body.subarray(offset, offset + PIECE) });
    }
    await this.#grpc.exchange(Content, "Write", [...pieces, { ...common, action: 2, offset: size, labels }], options);
  }

  /** Unpacks the one layer: the snapshot's name is the digest of the layer. */
  async #unpack({ mediaType, digest, size }: ImageBlob, options: CallOptions): Promise<void> {
    const snapshotter = this.#snapshotter;
    const key = `extract-demo-${digest}`;
    const { mounts } = await this.#grpc.call(Snapshots, "Prepare", { snapshotter, key, parent: "" }, options);
    const diff = { mediaType, digest, size };
    await this.#grpc.call("containerd.services.diff.v1.Diff", "Apply", { diff, mounts }, options);
    const labels = { "containerd.io/gc.root": "demo" };
    await this.#grpc.call(Snapshots, "Commit", { snapshotter, name: digest, key, labels }, options);
  }

  /** Makes a container of the image, and its task; nothing runs yet. */
  async create(id: string, image: string, command: readonly string[], directory: string): Promise<DemoTask> {
    const snapshotter = this.#snapshotter;
    const { layer } = makeImage();
    // A lease keeps the snapshot until the container refers to it.
    const lease =
      (await this.#grpc.call(Leases, "Create", { id: "demo-create" }, this.#options)).lease?.id ?? undefined;
    const { mounts } = await this.#grpc.call(
      Snapshots,
      "Prepare",
      { snapshotter, key: id, parent: layer.digest },
      { ...this.#options, lease },
    );
    const spec = await makeSpec(directory, [...command], `/${this.#namespace}/${id}`);
    const value = new TextEncoder().encode(JSON.stringify(spec));
    const runtime = { name: "io.containerd.runc.v2" };
    const container = { id, image, runtime, spec: { type_url: specType, value }, snapshotter, snapshotKey: id };
    await this.#grpc.call("containerd.services.containers.v1.Containers", "Create", { container }, this.#options);
    await this.#grpc.call(Leases, "Delete", { id: "demo-create" }, this.#options);
    const [stdin, stdout] = [join(directory, `${id}-in`), join(directory, `${id}-out`)];
    await run(["mkfifo", stdin, stdout], { check: true });
    const task = new DemoTask(stdin, stdout);
    const { pid } = await this.#grpc.call(
      Tasks,
      "Create",
      { containerId: id, rootfs: mounts, stdin, stdout },
      this.#options,
    );
    task.pid = pid;
    return task;
  }

  async start(id: string): Promise<void> {
    await this.#grpc.call(Tasks, "Start", { containerId: id }, this.#options);
  }

  /** Runs a command in a running container to its end. @returns its exit status */
  async exec(id: string, args: readonly string[]): Promise<number> {
    const execId = "extra";
    const process = { args, cwd: "/", env: ["PATH=/bin"], user: { uid: 0, gid: 0 } };
    const spec = { type_url: processType, value: new TextEncoder().encode(JSON.stringify(process)) };
    await this.#grpc.call(Tasks, "Exec", { containerId: id, execId, spec }, this.#options);
    const ended = this.#grpc.call(Tasks, "Wait", { containerId: id, execId }, this.#options);
    await this.#grpc.call(Tasks, "Start", { containerId: id, execId }, this.#options);
    const { exitStatus } = await ended;
    await this.#grpc.call(Tasks, "DeleteProcess", { containerId: id, execId }, this.#options);
    return exitStatus;
  }

  /** Waits for the container's end, and removes it with its file system. @returns its exit status */
  async remove(id: string): Promise<number> {
    const { exitStatus } = await this.#grpc.call(Tasks, "Wait", { containerId: id }, this.#options);
    await this.#grpc.call(Tasks, "Delete", { containerId: id }, this.#options);
    // In this order: a snapshot without a container is garbage, and may be collected before we come to it.
    await this.#grpc.call(Snapshots, "Remove", { snapshotter: this.#snapshotter, key: id }, this.#options);
    await this.#grpc.call("containerd.services.containers.v1.Containers", "Delete", { id }, this.#options);
    return exitStatus;
  }

  close(): void {
    this.#stop.abort();
    this.#grpc.close();
  }
}

/** Input and output of a task. */
export class DemoTask {
  pid = 0;
  output = "";
  readonly #stdin: string;
  readonly #reading: Promise<void>;
  #more: (() => void) | undefined;

  constructor(stdin: string, stdout: string) {
    this.#stdin = stdin;
    // cat opens the FIFO, which waits for the shim, in a process of its own.
    const cat = Bun.spawn(["sh", "-c", 'exec cat < "$1"', "sh", stdout], { stdout: "pipe", stdin: "ignore" });
    this.#reading = (async () => {
      for await (const chunk of cat.stdout) {
        this.output += new TextDecoder().decode(chunk);
        this.#more?.();
      }
      await cat.exited;
    })();
  }

  /** Waits for a text in the output. @throws Error after ten seconds */
  async expect(text: string): Promise<void> {
    const end = performance.now() + 10_000;
    while (!this.output.includes(text)) {
      if (performance.now() > end) throw new Error(`the container did not print ${JSON.stringify(text)}`);
      await Promise.race([new Promise<void>((resolve) => (this.#more = resolve)), Bun.sleep(1000)]);
    }
  }

  /** Gives the container a line of input. */
  async answer(line: string): Promise<void> {
    const fifo = await open(this.#stdin, "w");
    await fifo.write(`${line}\n`);
    await fifo.close();
  }

  /** All output, at its end. */
  async end(): Promise<string> {
    await this.#reading;
    return this.output;
  }
}

/** The spec that runc gives, with a command and a cgroup. */
async function makeSpec(directory: string, args: string[], cgroupsPath: string): Promise<unknown> {
  await run(["runc", "spec", "--bundle", directory], { check: true });
  const path = join(directory, "config.json");
  const spec = (await Bun.file(path).json()) as { process: object; linux: object; root: object };
  return {
    ...spec,
    process: { ...spec.process, args, terminal: false },
    root: { path: "rootfs" },
    linux: { ...spec.linux, cgroupsPath },
  };
}

/** The fields of a task event that a person wants to see. */
function detailsOf(type: string, value: Uint8Array): Record<string, unknown> {
  const types = containerd.events as unknown as Record<string, { decode(bytes: Uint8Array): unknown } | undefined>;
  const event = types[type.replace(/^.*\./, "")]?.decode(value) as Record<string, unknown> | undefined;
  if (event === undefined) return {};
  const names = type.endsWith("TaskExit") ? ["pid", "execId", "exitStatus"] : ["pid", "execId"];
  return Object.fromEntries(
    names.map((name) => [name, event[name]]).filter(([, found]) => found !== undefined && found !== ""),
  );
}
