/** The network's part of a container's OCI spec. Pure: {@link prepareFiles} of files.ts makes what the mounts need. */

import { dirname } from "node:path";
import { containerDir, fileNames, hookExecutable, type NetworkPaths, netnsPath } from "./paths.ts";
import { type NetworkRequest, networkKey, requestLabel } from "./request.ts";

/**
 * What network a container has: `host`: the host's own; `none`: a loopback alone; `cni`: those of its request;
 * `container:ID`: that of another container of the namespace, which must run first.
 */
export type NetworkMode = "host" | "none" | "cni" | `container:${string}`;

/** A container, as its network needs it. */
export interface NetworkOptions {
  readonly namespace: string;
  readonly id: string;
  readonly mode: NetworkMode;
  readonly request: NetworkRequest;
}

/** A hook of the OCI spec. */
export interface Hook {
  readonly path: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  /** Seconds. */
  readonly timeout: number;
}

/** What goes into the spec, each at its place. */
export interface NetworkSpec {
  /** Instead of what the spec has for the same destinations. */
  readonly mounts: readonly { destination: string; type: string; source: string; options: string[] }[];
  readonly hooks: { readonly createRuntime?: readonly Hook[]; readonly poststop?: readonly Hook[] };
  /** For `linux.namespaces`, where no other of type `network` may be. Empty for the host's network. */
  readonly namespaces: readonly { type: "network"; path?: string }[];
  readonly annotations: Readonly<Record<string, string>>;
  /** For the container's labels. */
  readonly labels: Readonly<Record<string, string>>;
}

/** The whole start of a container waits for its hook; this is for what hangs. Seconds. */
const HOOK_TIMEOUT_S = 120;

/** Nothing of the caller's environment reaches plugins; iptables is in one of the sbin. */
const hookEnv = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];

/**
 * The network's part of a spec.
 * @throws ContainerdError InvalidArgument for a namespace or id that is none
 */
export function networkSpec(options: NetworkOptions, paths: NetworkPaths): NetworkSpec {
  const { namespace, id, mode, request } = options;
  const other = mode.startsWith("container:") ? mode.slice("container:".length) : undefined;
  const dir = containerDir(paths, namespace, other ?? id);
  const mounts = fileNames.map((name) => ({
    destination: `/etc/${name}`,
    type: "bind",
    source: `${dir}/${name}`,
    options: ["rbind", "rw"],
  }));
  const text = JSON.stringify(request);
  const label = requestLabel(request);
  const common = {
    mounts,
    annotations: { [networkKey]: text },
    labels: label === undefined ? {} : { [networkKey]: label },
  };
  if (mode === "host") return { ...common, hooks: {}, namespaces: [] };
  if (mode === "none") return { ...common, hooks: {}, namespaces: [{ type: "network" }] };
  if (other !== undefined) {
    return { ...common, hooks: {}, namespaces: [{ type: "network", path: netnsPath(paths, namespace, other) }] };
  }
  const hook = (verb: string): Hook => ({
    path: hookExecutable(),
    args: ["berth", "network-hook", verb, "--root", dirname(paths.root), "--namespace", namespace],
    env: hookEnv,
    timeout: HOOK_TIMEOUT_S,
  });
  return {
    ...common,
    hooks: { createRuntime: [hook("add")], poststop: [hook("del")] },
    namespaces: [{ type: "network" }],
  };
}
