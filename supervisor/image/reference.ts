/**
 * Names of images. Two grammars meet here: containerd's own, which only splits a name into host, path and object
 * (pkg/reference/reference.go), and Docker's, which knows short names (distribution/reference).
 */

import { invalidArgument } from "../../proto/errdefs.ts";
import { isDigest } from "./descriptor.ts";

/** A name in its parts. */
export interface Reference {
  /** Host with port, and path: `docker.io/library/alpine`. */
  readonly locator: string;
  /** `TAG`, `TAG@DIGEST`, `@DIGEST`, or empty. */
  readonly object: string;
}

/** A reference that a registry can be asked for; nothing in it can leave its place in a URL. */
export interface RemoteReference extends Reference {
  /** Host with port. */
  readonly host: string;
  /** Path of the repository, without a slash at either end. */
  readonly repository: string;
  /** Empty when there is none. */
  readonly tag: string;
  /** Empty when there is none. */
  readonly digest: string;
}

const invalid = (): Error => invalidArgument("invalid reference");

/**
 * Splits a name the way containerd does, which takes much.
 * @throws ContainerdError InvalidArgument for what is no name
 */
export function parseReference(name: string): Reference {
  if (name.includes("://") || /[\0-\x20\x7f?#%\\]/.test(name)) throw invalid();
  const slash = name.indexOf("/");
  const authority = slash < 0 ? name : name.slice(0, slash);
  const path = slash < 0 ? "" : name.slice(slash);
  const host = authority.slice(authority.lastIndexOf("@") + 1);
  if (host === "") throw invalidArgument("hostname required");
  if (!/^(?:\[[0-9A-Fa-f:.]+\]|[^\][:@<>"`{}|^]+)(?::[0-9]*)?$/.test(host)) throw invalid();
  const at = path.search(/[:@]/);
  const object = at < 0 ? "" : path.slice(at);
  const parts = (at < 0 ? path : path.slice(0, at)).split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw invalid();
  return { locator: [host, ...parts].join("/"), object: object.startsWith(":") ? object.slice(1) : object };
}

/** Longest repository path (distribution/reference). */
const MAX_REPOSITORY = 255;

/**
 * Parses the name of what a registry has.
 * @throws ContainerdError InvalidArgument for a name that no registry can have
 */
export function parseRemote(name: string): RemoteReference {
  const { locator, object } = parseReference(name);
  const slash = locator.indexOf("/");
  const host = slash < 0 ? locator : locator.slice(0, slash);
  const repository = slash < 0 ? "" : locator.slice(slash + 1);
  const at = object.indexOf("@");
  const tag = at < 0 ? object : object.slice(0, at);
  const digest = at < 0 ? "" : object.slice(at + 1);
  if (!/^(?:\[[0-9A-Fa-f:.]+\]|\w[\w-]*(?:\.[\w-]+)*)(?::[0-9]{1,5})?$/.test(host)) throw invalid();
  if (repository.length > MAX_REPOSITORY) {
    throw invalidArgument(`repository name must not be more than ${MAX_REPOSITORY} characters`);
  }
  if (!/^[\w~+-][\w.~+-]*(?:\/[\w~+-][\w.~+-]*)*$/.test(repository)) throw invalid();
  if (tag !== "" && !/^\w[\w.-]{0,127}$/.test(tag)) throw invalidArgument("invalid tag format");
  if (at >= 0 && !isDigest(digest)) throw invalidArgument("invalid checksum digest format");
  return { locator, object, host, repository, tag, digest };
}

/** The reference name of OCI for a name: what stands behind host and path; the whole where that cannot be told. */
export function ociReferenceName(name: string): string {
  try {
    return parseReference(name).object;
  } catch {
    return name;
  }
}

/** A name in Docker's grammar; the parts that are not there are empty. */
export interface DockerName {
  readonly domain: string;
  readonly path: string;
  readonly tag: string;
  readonly digest: string;
}

const component = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
const domainPattern = `(?:${component}(?:\\.${component})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`;
const pathComponent = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
const docker = new RegExp(
  `^(${domainPattern})/(${pathComponent}(?:/${pathComponent})*)(?::(\\w[\\w.-]{0,127}))?` +
    "(?:@([A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?$",
);
/** Longest name that is looked at: keeps hostile input from the regular expressions. */
const MAX_NAME = 4096;

/**
 * Parses a name as people write it for Docker: `alpine` is `docker.io/library/alpine`.
 * @throws ContainerdError InvalidArgument
 */
export function parseDockerName(name: string): DockerName {
  if (name.length > MAX_NAME) throw invalidArgument("invalid reference format");
  if (name === "") throw invalidArgument("repository name must have at least one component");
  if (/^[a-f0-9]{64}$/.test(name)) {
    throw invalidArgument(`invalid repository name (${name}), cannot specify 64-byte hexadecimal strings`);
  }
  const [first, remainder] = splitDomain(name);
  const remote = remainder.split(":", 1)[0] ?? "";
  if (remote.toLowerCase() !== remote) {
    throw invalidArgument(`invalid reference format: repository name (${remote}) must be lowercase`);
  }
  const match = docker.exec(`${first}/${remainder}`);
  if (match === null) throw invalidArgument("invalid reference format");
  const [, domain = "", path = "", tag = "", digest = ""] = match;
  if (path.length > MAX_REPOSITORY) {
    throw invalidArgument(`repository name must not be more than ${MAX_REPOSITORY} characters`);
  }
  if (digest !== "" && !isDigest(digest)) throw invalidArgument("invalid checksum digest format");
  return { domain, path, tag, digest };
}

function splitDomain(name: string): [string, string] {
  const slash = name.indexOf("/");
  if (slash < 0) return ["docker.io", `library/${name}`];
  const first = name.slice(0, slash);
  let domain = "docker.io";
  let rest = name;
  if (first === "index.docker.io") rest = name.slice(slash + 1);
  else if (first === "localhost" || /[.:]/.test(first) || first.toLowerCase() !== first) {
    domain = first;
    rest = name.slice(slash + 1);
  }
  return [domain, domain === "docker.io" && !rest.includes("/") ? `library/${rest}` : rest];
}

/**
 * The full form of a Docker name, tagged or digested, the digest winning: `alpine` gives
 * `docker.io/library/alpine:latest`.
 * @throws ContainerdError InvalidArgument
 */
export function normalizeDockerName(name: string): string {
  const { domain, path, tag, digest } = parseDockerName(name);
  return digest !== "" ? `${domain}/${path}@${digest}` : `${domain}/${path}:${tag || "latest"}`;
}

/**
 * The short form of a name, as Docker shows it: `docker.io/library/alpine:latest` gives `alpine:latest`.
 * @throws ContainerdError InvalidArgument
 */
export function familiarName(name: string): string {
  const { domain, path, tag, digest } = parseDockerName(name);
  let short = `${domain}/${path}`;
  if (domain === "docker.io") {
    const official = path.startsWith("library/") ? path.slice("library/".length) : "/";
    short = official.includes("/") ? path : official;
  }
  return `${short}${tag !== "" ? `:${tag}` : digest === "" ? ":latest" : ""}${digest !== "" ? `@${digest}` : ""}`;
}

/**
 * Puts a prefix before a name that is only a tag. A full name stays, unless `mustMatch` and it is not under the prefix.
 * @returns the name; empty when the image is not to be named (core/images/archive/reference.go)
 */
export function applyPrefix(prefix: string, name: string, mustMatch: boolean): string {
  if (prefix === "") return "";
  if (!/[/:@]/.test(name)) return `${prefix}:${name}`;
  if (!mustMatch || name === prefix) return name;
  return name.startsWith(prefix) && /^[/:@]/.test(name.slice(prefix.length)) ? name : "";
}
