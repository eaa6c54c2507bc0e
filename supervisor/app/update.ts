/** Changing a container that runs: its labels, the limits in its spec, and those of its cgroup. */

import type { Api } from "../client/api.ts";
import { containerLabels } from "../container/container-labels.ts";
import { encodeSpec } from "../container/create.ts";
import { hostFacts } from "../container/facts.ts";
import type { RunImage } from "../container/image.ts";
import { labels as names } from "../container/labels.ts";
import type { OciSpec } from "../container/oci.ts";
import type { RunOptions } from "../container/options.ts";
import type { Place } from "../container/place.ts";
import { limitsOf } from "../container/resources.ts";
import { CONTAINERS, containerOf, isNotFound, TASKS } from "../container/task.ts";
import { LAST_EXIT_LABEL } from "../restart/policy.ts";

/** What is changed, and to what. */
export interface UpdateInput {
  readonly api: Api;
  readonly namespace: string;
  readonly options: RunOptions;
  readonly image: RunImage;
  /** Of the daemon. */
  readonly place: Place;
  /** The limits of the kernel are among it. */
  readonly hasLimits: boolean;
}

const RESOURCES = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
/** Labels that tell what has happened to a container, not what it is to be. */
const history = new Set<string>([
  ...[names.restart.count, names.healthStatus, names.exitStatus, names.exitedAt, LAST_EXIT_LABEL],
  ...[names.network, names.networkMode, names.anonymousVolumes],
]);

/** Changes a container's record, and its task. @throws ContainerdError */
export async function updateContainer({
  api,
  namespace,
  options,
  image,
  place,
  hasLimits,
}: UpdateInput): Promise<void> {
  const id = options.name ?? "";
  const container = await containerOf(api, namespace, id);
  const before = container.labels ?? {};
  const after = { ...containerLabels({ id, namespace, options, image, place, network: {}, anonymousVolumes: [] }) };
  const changes: Record<string, string> = {};
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    if (history.has(name)) continue;
    if ((before[name] ?? "") !== (after[name] ?? "")) changes[name] = after[name] ?? "";
  }
  // Another check has not said anything yet; without one nobody writes how it is.
  if (changes[names.health] !== undefined && before[names.healthStatus]) changes[names.healthStatus] = "";
  const paths = Object.keys(changes).map((name) => `labels.${name}`);
  const limits = limitsOf(options, hostFacts());
  const changed = {
    id,
    labels: changes,
    image: image.name,
    ...(hasLimits
      ? { spec: { type_url: container.spec?.type_url ?? "", value: withLimits(container.spec?.value, limits) } }
      : {}),
  };
  if (image.name !== container.image) paths.push("image");
  if (hasLimits) {
    // The kernel first: a limit that it refuses is not on record.
    const value = new TextEncoder().encode(JSON.stringify(limits));
    try {
      await api.call(TASKS, "Update", { containerId: id, resources: { type_url: RESOURCES, value } }, { namespace });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    paths.push("spec");
  }
  // The hash goes with the rest, in one change: what is half done is done again.
  await api.call(CONTAINERS, "Update", { container: changed, updateMask: { paths } }, { namespace });
}

/** A spec with other limits. Numbers that JSON of ours does not have, of "no limit", are kept as {@link encodeSpec} writes them. */
function withLimits(spec: Uint8Array | null | undefined, limits: ReturnType<typeof limitsOf>): Uint8Array {
  const text = new TextDecoder()
    .decode(spec ?? new Uint8Array())
    .replace(/"(soft|hard)":18446744073709551615\b/g, `"$1":${Number.MAX_SAFE_INTEGER}`);
  const parsed = JSON.parse(text) as OciSpec;
  return encodeSpec({ ...parsed, linux: { ...parsed.linux, resources: { ...parsed.linux.resources, ...limits } } });
}
