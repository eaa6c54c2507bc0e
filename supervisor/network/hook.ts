/**
 * `berth network-hook add|del`: what runc calls between making a container's namespaces and starting its program, and
 * after its end. Loaded by itself: a container's start waits for it.
 */

import { readFileSync } from "node:fs";
import { invalidArgument, messageOf } from "../../proto/errdefs.ts";
import { attach, detach } from "./attach.ts";
import { readAttachment } from "./attachments.ts";
import { isObject } from "./cni/conf.ts";
import { noteFailure } from "./failures.ts";
import { type NetworkPaths, networkPaths } from "./paths.ts";
import { type NetworkRequest, networkKey, parseRequest } from "./request.ts";

/** What runc writes to a hook (runtime-spec, state.md), as far as it is used. */
interface State {
  readonly id: string;
  readonly pid: number;
  readonly bundle: string;
  readonly annotations: Readonly<Record<string, unknown>>;
}

/** Runs a hook. What it writes to standard error is what the container's client is told. @returns the exit status */
export async function networkHook(args: readonly string[]): Promise<number> {
  try {
    const paths = networkPaths(optionOf(args, "--root"));
    const namespace = optionOf(args, "--namespace") ?? "default";
    const state = readState(readFileSync(0, "utf8"));
    if (args[0] === "add") await hookAdd(paths, namespace, state);
    else if (args[0] === "del") await hookDel(paths, namespace, state);
    else throw invalidArgument("network-hook: expected add or del");
    return 0;
  } catch (error) {
    await Bun.write(Bun.stderr, `${messageOf(error)}\n`);
    return 1;
  }
}

function optionOf(args: readonly string[], name: string): string | undefined {
  const at = args.indexOf(name);
  return at < 0 ? undefined : args[at + 1];
}

async function hookAdd(paths: NetworkPaths, namespace: string, state: State): Promise<void> {
  const request = await requestOf(state);
  try {
    await attach(paths, { namespace, id: state.id, pid: state.pid, request });
  } catch (error) {
    await noteFailure(paths, { namespace, id: state.id, message: messageOf(error) }).catch(() => undefined);
    throw error;
  }
}

/** Nothing on record is nothing to do: an attachment that failed has undone itself. */
async function hookDel(paths: NetworkPaths, namespace: string, { id }: State): Promise<void> {
  if (readAttachment(paths, namespace, id) === undefined) return;
  await detach(paths, () => readAttachment(paths, namespace, id));
}

function readState(text: string): State {
  const state: unknown = JSON.parse(text);
  if (!isObject(state) || typeof state["id"] !== "string") throw invalidArgument("network-hook: no state on stdin");
  const { id, pid, bundle, annotations } = state;
  return {
    id,
    pid: typeof pid === "number" ? pid : 0,
    bundle: typeof bundle === "string" ? bundle : "",
    annotations: isObject(annotations) ? annotations : {},
  };
}

/** The request of the state's annotations, which runc copies from the spec; else of the spec in the bundle. */
async function requestOf({ id, bundle, annotations }: State): Promise<NetworkRequest> {
  const text = annotations[networkKey];
  if (typeof text === "string") return parseRequest(text);
  const spec: unknown = await Bun.file(`${bundle}/config.json`).json();
  const own = isObject(spec) && isObject(spec["annotations"]) ? spec["annotations"][networkKey] : undefined;
  if (typeof own !== "string") throw invalidArgument(`container ${id} has no annotation ${networkKey}`);
  return parseRequest(own);
}
