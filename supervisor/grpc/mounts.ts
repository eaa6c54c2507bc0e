/** The Mounts service. */

import type { Activations } from "../snapshot/activation/activations.ts";
import type { Handlers } from "./server.ts";

export function mountsService(activations: Activations): Handlers<"containerd.services.mounts.v1.Mounts"> {
  return {
    async Activate({ name, mounts, labels, temporary }, { namespace, lease }) {
      const given = mounts.map(({ type, source, target, options }) => ({
        type: type ?? "",
        source: source ?? "",
        target: target ?? "",
        options: [...(options ?? [])],
      }));
      return { info: await activations.activate(namespace, lease, name, given, { labels, temporary }) };
    },
    async Deactivate({ name }, { namespace }) {
      await activations.deactivate(namespace, name);
      return {};
    },
    Info: ({ name }, { namespace }) => ({ info: activations.info(namespace, name) }),
    Update: () => activations.update(),
    async *List({ filters }, { namespace }) {
      for (const info of activations.list(namespace, filters)) yield { info };
    },
  };
}
