/** Which containers are made with which networks, whether they run or not. */

import type { Api } from "../../client/api.ts";
import { placeOf } from "../../container/place.ts";
import { type NetworkPaths, networkPaths } from "../../network/paths.ts";
import type { NetworkUser } from "../../network/remove.ts";
import { networkKey, parseRequest } from "../../network/request.ts";

/** Where the networks of a daemon are. @throws CallError */
export async function pathsOf(api: Api): Promise<NetworkPaths> {
  return networkPaths((await placeOf(api)).root);
}

/** Containers of all namespaces by the networks that their labels name. @throws CallError */
export async function usersOf(api: Api): Promise<Map<string, NetworkUser[]>> {
  const users = new Map<string, NetworkUser[]>();
  const { namespaces } = await api.call("containerd.services.namespaces.v1.Namespaces", "List", {});
  for (const { name: namespace = "" } of namespaces) {
    const filters = [`labels."${networkKey}"`];
    const request = { filters };
    const { containers } = await api.call("containerd.services.containers.v1.Containers", "List", request, {
      namespace: namespace ?? "",
    });
    for (const { id, labels } of containers) {
      for (const name of namesOf(labels?.[networkKey] ?? "")) {
        users.set(name, [...(users.get(name) ?? []), { namespace: namespace ?? "", id: id ?? "" }]);
      }
    }
  }
  return users;
}

/** A label that somebody else wrote may be anything. */
function namesOf(label: string): string[] {
  try {
    return parseRequest(label).networks.map(({ name }) => name);
  } catch {
    return [];
  }
}
