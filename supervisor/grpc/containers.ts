/** The Containers service. */

import { invalidArgument } from "../../proto/errdefs.ts";
import type { Containers } from "../store/containers.ts";
import { batched, repeated } from "./repeated.ts";
import { required } from "./required.ts";
import type { Handlers } from "./server.ts";

/** Number of `container` and of `containers` in the responses. */
const CONTAINER = 1;

export function containersService(containers: Containers): Handlers<"containerd.services.containers.v1.Containers"> {
  return {
    Get: ({ id }, { namespace }) => repeated(CONTAINER, [containers.record(namespace, id)]),
    List: ({ filters }, { namespace }) => repeated(CONTAINER, containers.records(namespace, filters)),
    async *ListStream({ filters }, { namespace }) {
      const records = containers.records(namespace, filters);
      yield* batched(records.map((record) => repeated(CONTAINER, [record]).bytes));
    },
    async Create({ container }, { namespace }) {
      return { container: await containers.create(namespace, required(container, "container")) };
    },
    async Update({ container, updateMask }, { namespace }) {
      if (!required(container, "container").id) throw invalidArgument("Container.ID required");
      return {
        container: await containers.update(namespace, required(container, "container"), updateMask?.paths ?? []),
      };
    },
    async Delete({ id }, { namespace }) {
      await containers.delete(namespace, id);
      return {};
    },
  };
}
