/** The Store service of sandboxes. */

import type { Sandboxes } from "../store/sandboxes.ts";
import { required } from "./required.ts";
import type { Handlers } from "./server.ts";

export function sandboxStoreService(sandboxes: Sandboxes): Handlers<"containerd.services.sandbox.v1.Store"> {
  return {
    async Create({ sandbox }, { namespace }) {
      return { sandbox: await sandboxes.create(namespace, required(sandbox, "sandbox")) };
    },
    async Update({ sandbox, fields }, { namespace }) {
      return { sandbox: await sandboxes.update(namespace, required(sandbox, "sandbox"), fields) };
    },
    async Delete({ sandboxId }, { namespace }) {
      await sandboxes.delete(namespace, sandboxId);
      return {};
    },
    List: ({ filters }, { namespace }) => ({ list: sandboxes.list(namespace, filters) }),
    Get: ({ sandboxId }, { namespace }) => ({ sandbox: sandboxes.get(namespace, sandboxId) }),
  };
}
