/** Volumes of a service: `[SOURCE:]TARGET[:OPTIONS]`, or a map; and its tmpfs. */

import { isAbsolute, join, normalize } from "node:path";
import type { BindMount, MountOption, TmpfsMount } from "../../container/options.ts";
import { type Node, nodeName } from "./node.ts";
import type { Problems } from "./problem.ts";
import { either, flag, list, object, oneOf, type Reader, text, texts, wrong } from "./reader.ts";
import { bytes } from "./units.ts";

/** Where paths of the file are looked for. */
export interface Places {
  /** The directory of the file. */
  readonly directory: string;
  /** What `~` is; undefined where there is none. */
  readonly home: string | undefined;
}

const propagations = ["private", "rprivate", "shared", "rshared", "slave", "rslave"] as const;
/** Options that change nothing here: SELinux, and consistency on Macs. */
const passed = new Set(["z", "Z", "cached", "delegated", "consistent", "rbind", "bind"]);

/** A path of the host, made absolute. */
export function hostPath(written: string, { directory, home }: Places): string | undefined {
  if (written === "~" || written.startsWith("~/")) return home === undefined ? undefined : join(home, written.slice(1));
  return isAbsolute(written) ? normalize(written) : join(directory, written);
}

function target(node: Node, written: string, problems: Problems): string | undefined {
  if (!isAbsolute(written))
    return problems.add(
      node.at,
      node.path,
      `the path in the container must be absolute, not ${JSON.stringify(written)}`,
    );
  const path = normalize(written).replace(/(.)\/+$/, "$1");
  return path === "/" ? problems.add(node.at, node.path, "nothing can be mounted at / of the container") : path;
}

function short(places: Places): Reader<MountOption> {
  return (node, problems) => {
    const written = text(node, problems);
    if (written === undefined) return undefined;
    const parts = written.split(":");
    if (parts.length > 3 || parts.includes("")) return wrong(node, problems, '"SOURCE:TARGET" or "SOURCE:TARGET:ro"');
    const [first = "", second, options = ""] = parts;
    const at = target(node, second ?? first, problems);
    if (at === undefined) return undefined;
    if (second === undefined) return { type: "volume", target: at };
    let isReadOnly = false;
    let noCopy = false;
    let propagation: BindMount["propagation"];
    for (const option of options.split(",").filter((word) => word !== "" && !passed.has(word))) {
      const found = propagations.find((each) => each === option);
      if (found !== undefined) propagation = found;
      else if (option === "nocopy") noCopy = true;
      else if (option === "ro" || option === "rw") isReadOnly = option === "ro";
      else
        return problems.add(
          node.at,
          node.path,
          `unknown option ${JSON.stringify(option)} of a volume: known are ro, rw, nocopy, ${propagations.join(", ")}`,
        );
    }
    const readOnly = isReadOnly ? { readOnly: true } : {};
    if (/^[./~]/.test(first)) {
      const source = hostPath(first, places);
      if (source === undefined) return problems.add(node.at, node.path, "there is no home directory for ~");
      return {
        type: "bind",
        source,
        target: at,
        createSource: true,
        ...readOnly,
        ...(propagation ? { propagation } : {}),
      };
    }
    if (!nodeName.test(first))
      return problems.add(
        node.at,
        node.path,
        `${JSON.stringify(first)} is no name of a volume; paths begin with ./ or /`,
      );
    return { type: "volume", source: first, target: at, ...readOnly, ...(noCopy ? { noCopy } : {}) };
  };
}

const fields = object({
  type: oneOf("volume", "bind", "tmpfs"),
  source: text,
  target: text,
  read_only: flag,
  consistency: text,
  bind: object({ propagation: oneOf(...propagations), create_host_path: flag, selinux: text }),
  volume: object({ nocopy: flag }, { subpath: "mount the whole volume, or a path of the host" }),
  tmpfs: object({ size: bytes(), mode: text }),
});

function long(places: Places): Reader<MountOption> {
  return (node, problems) => {
    const read = fields(node, problems);
    if (read === undefined) return undefined;
    const { type, source, bind, volume, tmpfs } = read;
    if (type === undefined) return problems.add(node.at, node.path, "no type: volume, bind or tmpfs");
    const at =
      read.target === undefined ? problems.add(node.at, node.path, "no target") : target(node, read.target, problems);
    if (at === undefined) return undefined;
    const readOnly = read.read_only ? { readOnly: true } : {};
    if (type === "tmpfs") {
      const mode = tmpfs?.mode === undefined ? undefined : modeOf(node, tmpfs.mode, problems);
      return {
        type,
        target: at,
        ...readOnly,
        ...(tmpfs?.size === undefined ? {} : { size: tmpfs.size }),
        ...(mode === undefined ? {} : { mode }),
      };
    }
    if (type === "bind") {
      const path = source === undefined ? undefined : hostPath(source, places);
      if (path === undefined) return problems.add(node.at, node.path, "no source: a path of the host");
      const propagation = bind?.propagation === undefined ? {} : { propagation: bind.propagation };
      return {
        type,
        source: path,
        target: at,
        createSource: bind?.create_host_path ?? false,
        ...readOnly,
        ...propagation,
      };
    }
    if (source !== undefined && !nodeName.test(source))
      return problems.add(node.at, node.path, `${JSON.stringify(source)} is no name of a volume`);
    return {
      type,
      target: at,
      ...(source === undefined ? {} : { source }),
      ...readOnly,
      ...(volume?.nocopy ? { noCopy: true } : {}),
    };
  };
}

function modeOf(node: Node, written: string, problems: Problems): number | undefined {
  if (/^0?o?[0-7]{3,5}$/.test(written)) return Number.parseInt(written.replace("o", ""), 8);
  return problems.add(node.at, node.path, "expected a mode such as 01777");
}

/** The volumes of a service. */
export function volumes(places: Places): Reader<MountOption[]> {
  return (node, problems) => {
    const found = list(either(short(places), long(places)))(node, problems);
    const seen = new Set<string>();
    for (const mount of found ?? []) {
      if (seen.has(mount.target)) problems.add(node.at, node.path, `${mount.target} is mounted twice`);
      seen.add(mount.target);
    }
    return found;
  };
}

/** `tmpfs: /run` or a list of `PATH[:OPTIONS]`. */
export const tmpfs: Reader<TmpfsMount[]> = (node, problems) =>
  texts(node, problems)?.flatMap((written) => {
    const [path = "", options = ""] = written.split(":");
    const at = target(node, path, problems);
    if (at === undefined) return [];
    const words = options.split(",").filter((word) => word !== "");
    return [{ type: "tmpfs" as const, target: at, ...(words.length > 0 ? { options: words } : {}) }];
  });
