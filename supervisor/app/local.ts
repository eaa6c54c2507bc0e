/** The machine of applications inside the daemon: its own API, and its networks and volumes. */

import { ContainerdError, messageOf } from "../../proto/errdefs.ts";
import { berth, containerd } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Api } from "../client/api.ts";
import { createContainer } from "../container/create.ts";
import type { HealthConfig } from "../container/health.ts";
import { labels as names } from "../container/labels.ts";
import type { RunOptions } from "../container/options.ts";
import { placeOf } from "../container/place.ts";
import { removeContainer } from "../container/remove.ts";
import { stopContainer } from "../container/stop.ts";
import { CONTAINERS, isNotFound, setLabels, taskOf } from "../container/task.ts";
import { Volumes } from "../container/volumes.ts";
import type { Exchange } from "../event/exchange.ts";
import { parseHealth } from "../health/config.ts";
import { readNetworks } from "../network/cni/directory.ts";
import { createNetwork, findNetwork } from "../network/create.ts";
import { networkPaths } from "../network/paths.ts";
import { removeNetwork } from "../network/remove.ts";
import { lastExitOf } from "../restart/policy.ts";
import type { Description } from "../restart/watched.ts";
import { AppImages } from "./images.ts";
import type { Sign } from "./judge.ts";
import type { ContainerStatus, Machine, MachineContainer, PullTell, Trouble } from "./machine.ts";
import type { AppNetwork } from "./model.ts";
import { updateContainer } from "./update.ts";

const { TaskExit, TaskStart, ContainerUpdate, ContainerDelete } = containerd.events;
const { AppEvent } = berth.v1;

const topics = [
  ...["/tasks/start", "/tasks/exit"].map((topic) => `topic=="${topic}"`),
  ...["/containers/update", "/containers/delete"].map((topic) => `topic=="${topic}"`),
];

/** What the machine is made of. */
export interface LocalMachineOptions {
  readonly api: Api;
  readonly exchange: Exchange;
  /** Of the daemon. */
  readonly root: string;
  /** What is known of a container's restarts. */
  readonly describe: (namespace: string, id: string) => Description | undefined;
  /** Starts a container whatever its policy says; see RestartMonitor. */
  readonly restart: (namespace: string, id: string, reason: string, wasWell: boolean) => Promise<void>;
}

/** The machine of one daemon. */
export class LocalMachine implements Machine {
  readonly #options: LocalMachineOptions;
  readonly #images: AppImages;

  constructor(options: LocalMachineOptions) {
    this.#options = options;
    this.#images = new AppImages(options.api);
  }

  async containers(namespace: string, app: string): Promise<readonly MachineContainer[]> {
    const filters = [`labels."${names.app}"==${app}`];
    const { containers } = await this.#options.api.call(CONTAINERS, "List", { filters }, { namespace });
    return containers.map(found);
  }

  async container(namespace: string, id: string): Promise<MachineContainer | undefined> {
    try {
      const { container } = await this.#options.api.call(CONTAINERS, "Get", { id }, { namespace });
      return container ? found(container) : undefined;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async status(namespace: string, id: string): Promise<ContainerStatus> {
    const container = await this.container(namespace, id);
    if (container === undefined) return { status: "missing", health: "", exitStatus: undefined };
    const task = await taskOf(this.#options.api, namespace, id);
    const health = container.labels[names.healthStatus] ?? "";
    if (task?.status === "running" || task?.status === "pausing")
      return { status: "running", health, exitStatus: undefined };
    if (task?.status === "paused") return { status: "paused", health, exitStatus: undefined };
    const exitStatus = task?.status === "stopped" ? task.exitStatus : lastExitOf(container.labels);
    return { status: exitStatus === undefined ? "created" : "exited", health: "", exitStatus };
  }

  health({ labels }: MachineContainer): HealthConfig | undefined {
    const health = parseHealth(labels[names.health]);
    return typeof health === "string" ? undefined : health;
  }

  trouble(namespace: string, id: string): Trouble | undefined {
    const known = this.#options.describe(namespace, id);
    if (known === undefined) return undefined;
    const { lastError, waitingFor } = known;
    if (waitingFor.length > 0) return { isError: false, what: `it waits for ${waitingFor.join(", ")}` };
    return lastError === undefined ? undefined : { isError: true, what: lastError };
  }

  ensureImage(
    namespace: string,
    image: Pick<RunOptions, "image" | "pull" | "platform">,
    digest: string | undefined,
    tell: PullTell,
    signal: AbortSignal,
  ): Promise<string> {
    return this.#images.ensure(namespace, image, digest, tell, signal);
  }

  digest(namespace: string, image: string): Promise<string | undefined> {
    return this.#images.digest(namespace, image);
  }

  keepImages(namespace: string, images: readonly { readonly image: string; readonly digest: string }[]): Promise<void> {
    return this.#images.keep(namespace, images);
  }

  async networks(): Promise<ReadonlySet<string>> {
    const { confDir, defaultNetwork } = this.#paths;
    return new Set([...readNetworks(confDir).networks.map(({ name }) => name), defaultNetwork]);
  }

  async networksOf(app: string): Promise<ReadonlySet<string>> {
    const { networks } = readNetworks(this.#paths.confDir);
    return new Set(networks.filter(({ berth: notes }) => notes?.labels?.[names.app] === app).map(({ name }) => name));
  }

  async createNetwork(app: string, { name, subnet, gateway, isInternal }: AppNetwork): Promise<void> {
    await createNetwork(this.#paths, {
      name,
      internal: isInternal,
      labels: { [names.app]: app, [names.composeProject]: app },
      ...(subnet === undefined ? {} : { subnets: [subnet] }),
      ...(gateway === undefined ? {} : { gateways: [gateway] }),
    });
  }

  async removeNetwork(name: string): Promise<void> {
    if (findNetwork(this.#paths, name) !== undefined) await removeNetwork(this.#paths, name);
  }

  async volumes(namespace: string): Promise<ReadonlySet<string>> {
    return new Set(new Volumes(this.#options.root, namespace).list().map(({ name }) => name));
  }

  async removeVolume(namespace: string, name: string): Promise<void> {
    const volumes = new Volumes(this.#options.root, namespace);
    if (volumes.find(name) !== undefined) volumes.remove(name);
  }

  async create(
    namespace: string,
    options: RunOptions,
    digest: string | undefined,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const image = await this.#images.reference(namespace, options.image, digest);
    // Its image is here; what the file says of pulls was done when the revision was made.
    const wanted = { ...options, image, pull: "never" as const };
    return (await createContainer(this.#options.api, namespace, wanted, { signal })).warnings;
  }

  async update(namespace: string, options: RunOptions, hasLimits: boolean): Promise<void> {
    const { api } = this.#options;
    const place = await placeOf(api);
    const image = await this.#images.facts(namespace, options);
    await updateContainer({ api, namespace, options, image, place, hasLimits });
  }

  async start(namespace: string, id: string): Promise<void> {
    const changes = {
      [names.restart.status]: "running",
      [names.restart.explicitlyStopped]: "",
      [names.restart.count]: "",
    };
    const { api, restart } = this.#options;
    await setLabels(api, namespace, id, changes);
    const policy = (await this.container(namespace, id))?.labels[names.restart.policy] ?? "";
    // These are not started by their labels alone: the monitor knows that they have ended.
    if (/^(?:no|on-failure)/.test(policy)) await restart(namespace, id, "its application asks for it", true);
  }

  async remove(namespace: string, id: string): Promise<void> {
    const { api } = this.#options;
    try {
      await stopContainer(api, namespace, id);
      await removeContainer(api, namespace, id, { force: true, volumes: true });
    } catch (error) {
      if (!isNotFound(error))
        throw new ContainerdError(codeOf(error), `cannot remove ${id}: ${messageOf(error)}`, { cause: error });
    }
  }

  async *signs(namespace: string, signal: AbortSignal): AsyncGenerator<Sign> {
    // Subscribed at once, not when the first sign is asked for.
    for await (const envelope of this.#options.exchange.subscribe(topics, signal)) {
      if (envelope.namespace !== namespace) continue;
      const value = envelope.event?.value ?? new Uint8Array(0);
      const sign = signOf(envelope.topic ?? "", value);
      if (sign !== undefined) yield sign;
    }
  }

  publish(namespace: string, event: { name: string; revision: number; what: string; reason: string }): void {
    const value = AppEvent.encode(event).finish();
    this.#options.exchange.publish(namespace, "/berth/app", { name: "berth.v1.AppEvent", value });
  }

  get #paths() {
    return networkPaths(this.#options.root);
  }
}

function found({
  id,
  image,
  labels,
}: {
  id?: string | null;
  image?: string | null;
  labels?: Record<string, string> | null;
}): MachineContainer {
  return { id: id ?? "", image: image ?? "", labels: labels ?? {} };
}

function signOf(topic: string, value: Uint8Array): Sign | undefined {
  switch (topic) {
    case "/tasks/start":
      return { id: TaskStart.decode(value).containerId, kind: "started" };
    case "/tasks/exit": {
      const { containerId, id, exitStatus } = TaskExit.decode(value);
      return id === containerId ? { id, kind: "ended", status: exitStatus } : undefined;
    }
    case "/containers/update": {
      const { id, labels } = ContainerUpdate.decode(value);
      const status = labels[names.healthStatus];
      return status === undefined ? undefined : { id, kind: "health", status, check: labels[names.health] ?? "" };
    }
    case "/containers/delete":
      return { id: ContainerDelete.decode(value).id, kind: "removed" };
    default:
      return undefined;
  }
}

function codeOf(error: unknown): Code {
  return error instanceof ContainerdError ? error.code : Code.Unknown;
}
