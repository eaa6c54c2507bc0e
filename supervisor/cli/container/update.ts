/** What `update` does. */

import { invalidArgument } from "../../../proto/errdefs.ts";
import { jsonTypes } from "../../../proto/typeurl.ts";
import type { Api } from "../../client/api.ts";
import { encodeSpec } from "../../container/create.ts";
import { hostFacts } from "../../container/facts.ts";
import { labels } from "../../container/labels.ts";
import type { OciSpec } from "../../container/oci.ts";
import { type Limits, limitsOf } from "../../container/resources.ts";
import { CONTAINERS, containerOf, setLabels, specOf, TASKS, taskOf } from "../../container/task.ts";
import type { Connection } from "../connect.ts";
import { note } from "../output/terminal.ts";
import { each } from "./each.ts";
import { limitsOf as limitFlags, type RunFlags } from "./flags.ts";
import { restartFlag } from "./parse.ts";

/** What the flags say. */
export type UpdateFlags = Partial<RunFlags>;

/** @returns the exit status */
export async function update(
  { api, namespace }: Connection,
  ids: readonly string[],
  flags: UpdateFlags,
): Promise<number> {
  const given = Object.fromEntries(Object.entries(limitFlags(flags)).filter(([, value]) => value !== undefined));
  const restart = flags.restart === undefined ? undefined : restartFlag(flags.restart);
  if (Object.keys(given).length === 0 && restart === undefined) {
    throw invalidArgument("nothing to change: give a limit, such as --memory 256m, or --restart");
  }
  const limits = limitsOf(given, hostFacts(), (text) => note(`berth: ${text}\n`));
  return each(ids, async (id) => {
    if (Object.keys(limits).length > 0) await changeLimits(api, namespace, id, limits);
    if (restart !== undefined) await changePolicy(api, namespace, id, restart);
  });
}

/** First where it runs, where it may be refused, and then on record. */
async function changeLimits(api: Api, namespace: string, id: string, limits: Limits): Promise<void> {
  const container = await containerOf(api, namespace, id);
  const task = await taskOf(api, namespace, id);
  if (task !== undefined && task.status !== "stopped") {
    const resources = {
      type_url: jsonTypes.linuxResources,
      value: new TextEncoder().encode(JSON.stringify(limits)),
    };
    await api.call(TASKS, "Update", { containerId: id, resources }, { namespace });
  }
  const spec = specOf<OciSpec>(container);
  const { resources } = spec.linux;
  const merged = {
    ...resources,
    ...limits,
    ...(limits.memory ? { memory: { ...resources.memory, ...limits.memory } } : {}),
    ...(limits.cpu ? { cpu: { ...resources.cpu, ...limits.cpu } } : {}),
  };
  const value = encodeSpec({ ...spec, linux: { ...spec.linux, resources: merged } });
  const changed = { id, spec: { type_url: container.spec?.type_url ?? "", value } };
  await api.call(CONTAINERS, "Update", { container: changed, updateMask: { paths: ["spec"] } }, { namespace });
}

async function changePolicy(
  api: Api,
  namespace: string,
  id: string,
  { name, maximum = 0 }: ReturnType<typeof restartFlag>,
): Promise<void> {
  const container = await containerOf(api, namespace, id);
  const task = await taskOf(api, namespace, id);
  if (name === "no") {
    await setLabels(api, namespace, id, { [labels.restart.policy]: "", [labels.restart.status]: "" });
    return;
  }
  const isUp = task !== undefined && task.status !== "stopped" && task.status !== "created";
  await setLabels(api, namespace, id, {
    [labels.restart.policy]: maximum > 0 ? `${name}:${maximum}` : name,
    [labels.restart.logUri]: container.labels?.[labels.log] ?? "",
    // One that has ended stays so until it is started.
    ...(isUp ? { [labels.restart.status]: "running" } : {}),
  });
}
