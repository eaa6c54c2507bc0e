/** `berth network create`. */

import { invalidArgument } from "../../../proto/errdefs.ts";
import { createNetwork } from "../../network/create.ts";
import type { Connection } from "../connect.ts";
import { shown } from "../output/escape.ts";
import { print } from "../output/terminal.ts";
import { pathsOf } from "./users.ts";

/** What commander reads. */
export interface CreateFlags {
  readonly driver?: string;
  readonly subnet?: readonly string[];
  readonly gateway?: readonly string[];
  readonly internal?: boolean;
  readonly ipv6?: boolean;
  readonly parent?: string;
  readonly mtu?: string;
  readonly label?: readonly string[];
  readonly opt?: readonly string[];
}

/** Makes a network and prints its name. @throws ContainerdError */
export async function create({ api }: Connection, name: string, flags: CreateFlags): Promise<void> {
  const { driver, subnet, gateway, internal, ipv6, label = [], opt = [] } = flags;
  const options = new Map(opt.map(pairOf));
  for (const key of options.keys()) {
    if (key !== "parent" && key !== "com.docker.network.driver.mtu") {
      throw invalidArgument(`--opt ${key} is not known: parent and com.docker.network.driver.mtu are`);
    }
  }
  const parent = flags.parent ?? options.get("parent");
  const mtu = flags.mtu ?? options.get("com.docker.network.driver.mtu");
  const network = await createNetwork(await pathsOf(api), {
    name,
    labels: Object.fromEntries(label.map(pairOf)),
    ...(driver === undefined ? {} : { driver }),
    ...(subnet === undefined ? {} : { subnets: subnet }),
    ...(gateway === undefined ? {} : { gateways: gateway }),
    ...(internal === undefined ? {} : { internal }),
    ...(ipv6 === undefined ? {} : { ipv6 }),
    ...(parent === undefined ? {} : { parent }),
    ...(mtu === undefined ? {} : { mtu: Number(mtu) }),
  });
  await print(`${shown(network.name)}\n`);
}

function pairOf(text: string): [string, string] {
  const at = text.indexOf("=");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
