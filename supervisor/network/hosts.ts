/**
 * The text of a container's hosts file: a block of ours between two marks, and around it whatever the container itself
 * has written, which stays.
 */

const begin = "# berth: names of this container and of those that share a network with it";
const end = "# berth: end";

const local = `127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
`;

/** One line: an address and its names. */
export interface HostLine {
  readonly ip: string;
  readonly names: readonly string[];
}

/** The whole text with our lines in it; what of `before` is not ours stays. */
export function hostsText(lines: readonly HostLine[], before = ""): string {
  const block = [begin, ...lines.map(({ ip, names }) => `${ip}\t${[...new Set(names)].join(" ")}`), end, ""].join("\n");
  const from = before.indexOf(`${begin}\n`);
  const to = before.indexOf(`${end}\n`, from);
  if (from < 0 || to < 0) return `${local}${block}`;
  return `${before.slice(0, from)}${block}${before.slice(to + end.length + 1)}`;
}
