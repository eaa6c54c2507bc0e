/** What the owner of the token may change: a container's and an application's state, and nothing else. */

import { failedPrecondition, invalidArgument, notFound } from "../../proto/errdefs.ts";
import type { Api } from "../client/api.ts";
import { labels as names } from "../container/labels.ts";
import { startContainer } from "../container/start.ts";
import { stopContainer } from "../container/stop.ts";
import type { Containers } from "../store/containers.ts";
import type { ApplicationStatus } from "./document.ts";
import { logTail } from "./log-tail.ts";

/** Starts, stops or restarts a container. @throws ContainerdError */
export async function actOnContainer(api: Api, namespace: string, id: string, verb: string): Promise<void> {
  switch (verb) {
    case "start":
      await startContainer(api, namespace, id);
      return;
    case "stop":
      await stopContainer(api, namespace, id);
      return;
    case "restart":
      await stopContainer(api, namespace, id);
      await startContainer(api, namespace, id);
      return;
    default:
      throw invalidArgument(`a container knows start, stop and restart, not ${JSON.stringify(verb.slice(0, 50))}`);
  }
}

/** Every application, as its room tells of it. @param namespace in which it is asked */
export async function applicationStatuses(api: Api, namespace: string): Promise<ApplicationStatus[]> {
  const { applications } = await api.call("berth.v1.Applications", "List", {}, { namespace });
  return applications.map((application) => {
    const containers = application.containers ?? [];
    return {
      name: application.name ?? "",
      namespace: application.namespace ?? "",
      state: application.state ?? "",
      revision: application.revision ?? 0,
      goodRevision: application.goodRevision ?? 0,
      error: application.error ?? "",
      running: containers.filter(({ status }) => status === "running").length,
      containers: containers.length,
    };
  });
}

/** Brings an application back to its last good revision. @throws ContainerdError */
export async function actOnApplication(api: Api, namespace: string, name: string, verb: string): Promise<void> {
  if (verb !== "rollback") {
    throw invalidArgument(`an application knows rollback, not ${JSON.stringify(verb.slice(0, 50))}`);
  }
  for await (const { step, message } of api.stream("berth.v1.Applications", "Rollback", { name }, { namespace })) {
    if (step === "failed") throw failedPrecondition(message ?? "it failed");
  }
}

/** The end of a container's log as JSON. @throws ContainerdError NotFound for one without a log in a file */
export async function containerLog(
  containers: Pick<Containers, "get">,
  namespace: string,
  id: string,
  count: number,
): Promise<string> {
  const uri = containers.get(namespace, id).labels[names.log];
  if (uri === undefined || !uri.startsWith("file:")) {
    throw notFound(`container ${id} has no log in a file: not found`);
  }
  return JSON.stringify({ lines: await logTail(uri, count) });
}
