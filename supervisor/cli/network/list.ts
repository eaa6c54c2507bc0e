/** `berth network ls` and `inspect`. */

import { notFound } from "../../../proto/errdefs.ts";
import { listNetworks, type NetworkInfo } from "../../network/inspect.ts";
import type { Connection } from "../connect.ts";
import { shown, shownJson } from "../output/escape.ts";
import { type ListFlags, type Listing, printList } from "../output/list.ts";
import { note, print } from "../output/terminal.ts";
import { pathsOf, usersOf } from "./users.ts";

interface Row extends NetworkInfo {
  /** Containers that are made with it. */
  readonly users: number;
}

const listing: Listing<Row> = {
  columns: () => [
    { header: "NAME", cell: ({ name }) => shown(name) },
    { header: "DRIVER", cell: ({ driver, internal }) => shown(internal ? `${driver} (internal)` : driver) },
    { header: "SUBNETS", cell: ({ subnets }) => subnets.join(" ") },
    { header: "CONTAINERS", cell: ({ users }) => String(users), align: "right" },
    { header: "FILE", cell: ({ path }) => shown(path), min: 12, drop: 1 },
  ],
  item: ({ name, driver, internal, subnets, users, path, labels, created }) => ({
    ...{ ID: name, Name: name, Driver: driver, Scope: "local", Internal: internal },
    ...{ Subnets: subnets, Containers: users, File: path, Labels: labels, CreatedAt: created ?? "" },
  }),
  id: ({ name }) => name,
};

/** Lists networks. Files that are not used are told on standard error. */
export async function list({ api }: Connection, flags: ListFlags): Promise<void> {
  const { networks, bad } = listNetworks(await pathsOf(api));
  const users = await usersOf(api);
  for (const { path, problem } of bad) note(`berth network ls: ${shown(path)} is not used: ${shown(problem)}\n`);
  await printList(
    networks.map((network) => ({ ...network, users: users.get(network.name)?.length ?? 0 })),
    listing,
    flags,
  );
}

/** Prints networks as a JSON array. @throws ContainerdError NotFound */
export async function inspect({ api }: Connection, names: readonly string[]): Promise<void> {
  const paths = await pathsOf(api);
  const { networks } = listNetworks(paths);
  const users = await usersOf(api);
  const items = names.map((name) => {
    const network = networks.find((one) => one.name === name);
    if (network === undefined)
      throw notFound(`network ${name} is not in ${paths.confDir}: berth network ls lists them`);
    return itemOf(network, users.get(name)?.map(({ namespace, id }) => `${namespace}/${id}`) ?? []);
  });
  await print(`${shownJson(items, 2)}\n`);
}

function itemOf(network: NetworkInfo, madeWith: readonly string[]) {
  const { name, driver, path, internal, subnets, bridge, created, labels, cniVersion, plugins, members } = network;
  return {
    ...{ Name: name, Driver: driver, Scope: "local", Internal: internal, Created: created ?? "" },
    IPAM: { Config: subnets.map((Subnet) => ({ Subnet })) },
    ...{ File: path, CNIVersion: cniVersion, Plugins: plugins, Bridge: bridge ?? "", Labels: labels },
    MadeWith: madeWith,
    Containers: Object.fromEntries(
      members.map(({ namespace, id, ifName, addresses, mac, aliases }) => [
        `${namespace}/${id}`,
        { Name: id, Interface: ifName, Addresses: addresses, MacAddress: mac, Aliases: aliases },
      ]),
    ),
  };
}
