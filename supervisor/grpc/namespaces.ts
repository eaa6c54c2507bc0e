/** The Namespaces service. */

import type { Namespaces } from "../store/namespaces.ts";
import { required } from "./required.ts";
import type { Handlers } from "./server.ts";

export function namespacesService(namespaces: Namespaces): Handlers<"containerd.services.namespaces.v1.Namespaces"> {
  return {
    Get: ({ name }) => ({ namespace: { name, labels: { ...namespaces.labels(name) } } }),
    List: () => ({ namespaces: namespaces.list().map(({ name, labels }) => ({ name, labels: { ...labels } })) }),
    async Create({ namespace }) {
      const given = required(namespace, "namespace");
      await namespaces.create(given.name ?? "", given.labels ?? {});
      return { namespace: given };
    },
    async Update({ namespace, updateMask }) {
      const given = required(namespace, "namespace");
      await namespaces.update(given.name ?? "", given.labels ?? {}, updateMask?.paths ?? []);
      return {};
    },
    async Delete({ name }) {
      await namespaces.delete(name);
      return {};
    },
  };
}
