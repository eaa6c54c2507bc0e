/** The Leases service. */

import type { containerd } from "../../proto/gen/supervisor.js";
import type { Lease, Leases, Resource } from "../store/leases.ts";
import { timestampOf } from "../store/time.ts";
import { required } from "./required.ts";
import type { Handlers } from "./server.ts";

/** @param collector waited for by a delete that asks for it */
export function leasesService(
  leases: Leases,
  collector: { collect(): Promise<unknown> },
): Handlers<"containerd.services.leases.v1.Leases"> {
  return {
    async Create({ id, labels }, { namespace }) {
      return { lease: message(await leases.create(namespace, id, labels)) };
    },
    async Delete({ id, sync }, { namespace }) {
      await leases.delete(namespace, id);
      if (sync) await collector.collect();
      return {};
    },
    List: ({ filters }, { namespace }) => ({ leases: leases.list(namespace, filters).map(message) }),
    async AddResource({ id, resource }, { namespace }) {
      await leases.addResource(namespace, id, resourceOf(resource));
      return {};
    },
    async DeleteResource({ id, resource }, { namespace }) {
      await leases.deleteResource(namespace, id, resourceOf(resource));
      return {};
    },
    ListResources: ({ id }, { namespace }) => ({ resources: leases.resources(namespace, id) }),
  };
}

function message({ id, labels, createdAt }: Lease) {
  return { id, labels: { ...labels }, createdAt: timestampOf(createdAt) };
}

function resourceOf(resource: containerd.services.leases.v1.Resource.$Properties | null | undefined): Resource {
  const { type, id } = required(resource, "resource");
  return { type: type ?? "", id: id ?? "" };
}
