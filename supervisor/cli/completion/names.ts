/** Names that completion asks of the daemon: few, fast, and none where it does not answer. */

import { existsSync } from "node:fs";
import type { Api } from "../../client/api.ts";
import { GrpcClient } from "../../client/grpc.ts";
import { placeOf as daemonPlaceOf } from "../../container/place.ts";
import { Volumes } from "../../container/volumes.ts";
import { listNetworks } from "../../network/inspect.ts";
import { networkPaths } from "../../network/paths.ts";
import type { NameKind, NamesOf } from "./complete.ts";

/** Longer than this nobody waits for a Tab key. */
const ANSWER_MS = 1500;

/** Names of a daemon. @param fallback where it is unless the line says otherwise */
export function namesFrom(fallback: { readonly namespace: string; readonly address: string }): NamesOf {
  return async (kind, { namespace = fallback.namespace, address = fallback.address }) => {
    if (!existsSync(address)) return [];
    const api = new GrpcClient(address, { deadlineMs: ANSWER_MS });
    try {
      return await ask(api, namespace, kind);
    } catch {
      return [];
    } finally {
      api.close();
    }
  };
}

async function ask(api: Api, namespace: string, kind: NameKind): Promise<string[]> {
  const at = { namespace };
  switch (kind) {
    case "container": {
      const { containers } = await api.call(
        "containerd.services.containers.v1.Containers",
        "List",
        { filters: [] },
        at,
      );
      return containers.map(({ id }) => id ?? "");
    }
    case "image": {
      const { images } = await api.call("containerd.services.images.v1.Images", "List", { filters: [] }, at);
      return images.map(({ name }) => name ?? "").flatMap((name) => [name, name.replace(/^docker\.io\/library\//, "")]);
    }
    case "namespace": {
      const { namespaces } = await api.call("containerd.services.namespaces.v1.Namespaces", "List", {});
      return namespaces.map(({ name }) => name ?? "");
    }
    case "network":
      return [
        "host",
        "none",
        ...listNetworks(networkPaths((await daemonPlaceOf(api)).root)).networks.map(({ name }) => name),
      ];
    case "volume":
      return new Volumes((await daemonPlaceOf(api)).root, namespace).list().map(({ name }) => name);
  }
}
