/** What went wrong in a plugin, in one sentence that says what to do. */

/** What a plugin says about its failure (spec 1.0, section 5, "Error"). */
export interface PluginFailure {
  /** Below 100: the specification's; 0 where the plugin gave none. */
  readonly code: number;
  readonly msg: string;
  readonly details: string;
}

/** Codes of the specification. */
export const cniCode = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decoding: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
} as const;

/** A plugin, or all of a network, that failed. */
export class CniError extends Error {
  override readonly name = "CniError";
  readonly failure: PluginFailure;

  constructor(message: string, failure: PluginFailure) {
    super(message);
    this.failure = failure;
  }
}

/** Words of plugins and of what they call, and what helps; the first that is found counts. */
const remedies: readonly (readonly [RegExp, string])[] = [
  [
    /ip6?tables[^:]*: executable file not found|failed to locate ip6?tables|exec: "ip6?tables/i,
    "iptables is not installed: apt install iptables",
  ],
  [
    /executable file not found|failed to find plugin/i,
    "a program that it needs is not installed: apt install containernetworking-plugins iptables",
  ],
  [
    /no IP addresses available|no available IP/i,
    "every address of its subnet is taken: remove containers, or make a network with a larger --subnet",
  ],
  [
    /requested IP address .* (is not available|not available)|already been? (allocated|assigned)|duplicate allocation/i,
    "that address is taken, or not of this network: choose another, or none",
  ],
  [
    /already has an IP address different from|already exists but is not a bridge/i,
    "an interface of that name is there already and is not this network's: ip link delete it, or make the network anew",
  ],
  [
    /(operation not permitted|permission denied)/i,
    "the daemon may not change the network here: it needs root and CAP_NET_ADMIN",
  ],
  [
    /(modprobe|can't initialize ip6?tables|Could not fetch rule set generation|Protocol not supported|could not insert|Extension \S+ revision|No chain\/target\/match)/i,
    "the kernel lacks what iptables needs: load nf_tables, nft_compat, xt_comment, xt_conntrack, xt_MASQUERADE and xt_multiport",
  ],
  [/operation not supported/i, "the kernel lacks a driver that it needs: load bridge and veth (or macvlan, ipvlan)"],
];

/** The error for what a plugin said. @param network and `plugin` by their names */
export function pluginError(network: string, plugin: string, command: string, failure: PluginFailure): CniError {
  const said = [failure.msg, failure.details].filter((text) => text !== "").join(": ");
  const remedy = remedies.find(([pattern]) => pattern.test(said))?.[1] ?? byCode(failure.code);
  const text = oneLine(said) || "it did not say why";
  return new CniError(
    `network ${network}: plugin ${plugin} failed at ${command}: ${text}${remedy === undefined ? "" : `: ${remedy}`}`,
    failure,
  );
}

function byCode(code: number): string | undefined {
  switch (code) {
    case cniCode.incompatibleVersion:
      return "change the cniVersion of the network's file to one that the plugin knows, or install newer plugins";
    case cniCode.unsupportedField:
    case cniCode.invalidConfig:
      return "correct the network's file";
    case cniCode.tryAgainLater:
      return "try again later";
    default:
      return undefined;
  }
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim().slice(0, 1000);
}
