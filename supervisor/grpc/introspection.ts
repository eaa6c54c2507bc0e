/** The Introspection service. */

import { notFound, notImplemented, unknown } from "../../proto/errdefs.ts";
import { containerd, type google } from "../../proto/gen/supervisor.js";
import { filterPlugins, type Plugin, runtimePlugin } from "../introspection/plugins.ts";
import type { Handlers } from "./server.ts";

/** What the service tells of. */
export interface IntrospectionOptions {
  readonly uuid: string;
  readonly plugins: readonly Plugin[];
  /** Inode of the daemon's pid namespace. */
  readonly pidNamespace: number;
  /**
   * Asks a runtime what it can do.
   * @param runtime its name, or the path of its shim
   * @returns an encoded containerd.types.RuntimeInfo
   */
  runtimeInfo(runtime: string, options: Any | undefined): Promise<Uint8Array>;
}

type Any = google.protobuf.Any.$Properties;

const { RuntimeRequest } = containerd.types;
const REQUEST = "containerd.types.RuntimeRequest";
const INFO = "containerd.types.RuntimeInfo";

export function introspectionService(
  options: IntrospectionOptions,
): Handlers<"containerd.services.introspection.v1.Introspection"> {
  return {
    Plugins: ({ filters }) => ({ plugins: filterPlugins(options.plugins, filters) }),
    Server: () => ({ uuid: options.uuid, pid: process.pid, pidns: options.pidNamespace }),
    async PluginInfo({ type, id, options: request }) {
      if (request) checkKnown(request);
      const plugin = options.plugins.find((candidate) => candidate.type === type && candidate.id === id);
      if (plugin === undefined) throw notFound(`plugin ${type}.${id} not found: not found`);
      if (!request) return { plugin };
      if (type !== runtimePlugin.type || id !== runtimePlugin.id) {
        throw notImplemented("plugin does not provided extra information: not implemented");
      }
      return { plugin, extra: { type_url: INFO, value: await runtimeInfo(request) } };
    },
  };

  function runtimeInfo({ type_url, value }: Any): Promise<Uint8Array> {
    if (type_url !== REQUEST) {
      const [pack, name] =
        type_url?.endsWith(".Options") === true ? ["options", "Options"] : ["types", nameOf(type_url)];
      throw notImplemented(`unknown request type *${pack}.${name}: not implemented`);
    }
    const { runtimePath, options: runtimeOptions } = RuntimeRequest.decode(value ?? new Uint8Array(0));
    if (runtimePath === "") throw unknown("failed to resolve runtime path: no runtime name");
    return options.runtimeInfo(runtimePath, runtimeOptions ?? undefined);
  }
}

/** @throws ContainerdError Unknown for a message that containerd's API does not have */
function checkKnown({ type_url }: Any): void {
  if (/^(?:type\.googleapis\.com\/)?(?:containerd|runtimeoptions)\./.test(type_url ?? "")) return;
  throw unknown(`failed to unmarshal plugin info Options: type with url ${type_url ?? ""}: not found`);
}

function nameOf(url: string | null | undefined): string {
  return url?.split(".").at(-1) ?? "";
}
