/** Mount options as mount(8) and containerd's mount package spell them. */

/** Flags of mount(2). */
export const MS = {
  RDONLY: 0x1,
  NOSUID: 0x2,
  NODEV: 0x4,
  NOEXEC: 0x8,
  SYNCHRONOUS: 0x10,
  REMOUNT: 0x20,
  MANDLOCK: 0x40,
  DIRSYNC: 0x80,
  NOATIME: 0x400,
  NODIRATIME: 0x800,
  BIND: 0x1000,
  REC: 0x4000,
  UNBINDABLE: 0x20000,
  PRIVATE: 0x40000,
  SLAVE: 0x80000,
  SHARED: 0x100000,
  RELATIME: 0x200000,
  STRICTATIME: 0x1000000,
} as const;

/** Option name to the flag it sets (true) or clears (false). */
const flagOptions = new Map<string, readonly [flag: number, set: boolean]>([
  ["async", [MS.SYNCHRONOUS, false]],
  ["atime", [MS.NOATIME, false]],
  ["bind", [MS.BIND, true]],
  ["defaults", [0, true]],
  ["dev", [MS.NODEV, false]],
  ["diratime", [MS.NODIRATIME, false]],
  ["dirsync", [MS.DIRSYNC, true]],
  ["exec", [MS.NOEXEC, false]],
  ["mand", [MS.MANDLOCK, true]],
  ["noatime", [MS.NOATIME, true]],
  ["nodev", [MS.NODEV, true]],
  ["nodiratime", [MS.NODIRATIME, true]],
  ["noexec", [MS.NOEXEC, true]],
  ["nomand", [MS.MANDLOCK, false]],
  ["norelatime", [MS.RELATIME, false]],
  ["nostrictatime", [MS.STRICTATIME, false]],
  ["nosuid", [MS.NOSUID, true]],
  ["private", [MS.PRIVATE, true]],
  ["rbind", [MS.BIND | MS.REC, true]],
  ["relatime", [MS.RELATIME, true]],
  ["remount", [MS.REMOUNT, true]],
  ["ro", [MS.RDONLY, true]],
  ["rprivate", [MS.PRIVATE | MS.REC, true]],
  ["rshared", [MS.SHARED | MS.REC, true]],
  ["rslave", [MS.SLAVE | MS.REC, true]],
  ["runbindable", [MS.UNBINDABLE | MS.REC, true]],
  ["rw", [MS.RDONLY, false]],
  ["shared", [MS.SHARED, true]],
  ["slave", [MS.SLAVE, true]],
  ["strictatime", [MS.STRICTATIME, true]],
  ["suid", [MS.NOSUID, false]],
  ["sync", [MS.SYNCHRONOUS, true]],
  ["unbindable", [MS.UNBINDABLE, true]],
]);

/** Maps of user and group ids as options spell them: `CONTAINER:HOST:LENGTH`, several with commas between. */
export interface IdMaps {
  readonly uids: string;
  readonly gids: string;
}

const UIDS = "uidmap=";
const GIDS = "gidmap=";

/** True when a mount asks for ids other than those on the disk. */
export function mapsIds(options: readonly string[]): boolean {
  return options.some((option) => option.startsWith(UIDS) || option.startsWith(GIDS));
}

const propagation = MS.SHARED | MS.PRIVATE | MS.SLAVE | MS.UNBINDABLE;
export const LOWER = "lowerdir=";

/** A mount that cannot be made as asked; the text says which and why. */
export class MountError extends Error {
  override readonly name = "MountError";
  /** True when the request is at fault, not the system. */
  readonly invalid: boolean;
  constructor(message: string, invalid: boolean) {
    super(message);
    this.invalid = invalid;
  }
}

/** Options parsed. */
export interface ParsedOptions {
  readonly flags: number;
  readonly propagation: number;
  /** The data string's parts. */
  readonly data: string[];
  /** The source is a file that holds a file system. */
  readonly loop: boolean;
  /** Undefined when the ids are to be those on the disk. */
  readonly ids: IdMaps | undefined;
}

/**
 * Takes options apart (UN-2).
 * @throws MountError for a map of ids without the other
 */
export function parseOptions(options: readonly string[]): ParsedOptions {
  let flags = 0;
  let [uids, gids] = ["", ""];
  let loop = false;
  const data: string[] = [];
  for (const option of options) {
    const known = flagOptions.get(option);
    if (known !== undefined) flags = known[1] ? flags | known[0] : flags & ~known[0];
    else if (option.startsWith(UIDS)) uids = option;
    else if (option.startsWith(GIDS)) gids = option;
    else if (option === "loop") loop = true;
    else if (!option.startsWith("X-containerd.")) data.push(option);
  }
  // Files whose groups alone are mapped would belong to nobody: no client means that.
  if ((uids === "") !== (gids === ""))
    throw new MountError(`mount option ${uids || gids} needs ${uids === "" ? UIDS : GIDS} beside it`, true);
  return {
    flags: flags & ~propagation,
    propagation: flags & (propagation | (flags & propagation ? MS.REC : 0)),
    data,
    loop,
    ids: uids === "" ? undefined : { uids: uids.slice(UIDS.length), gids: gids.slice(GIDS.length) },
  };
}

/** The directories of a `lowerdir` option; a backslash takes the meaning off a colon. */
export function splitLower(lower: string): string[] {
  return lower.match(/(?:\\.|[^:\\])+/gs) ?? [];
}

/**
 * Shortens the options of an overlay by naming its directories relative to their common parent (UN-2).
 * @returns the parent, or undefined when there is none, and the options
 */
export function compactOverlay(data: readonly string[]): { directory: string | undefined; data: string[] } {
  const none = { directory: undefined, data: [...data] };
  const lowers = data.filter((option) => option.startsWith(LOWER));
  // What is relative already would be looked for in another place; "::" begins another kind of layers.
  if (lowers.length !== 1 || lowers[0]?.includes("::") || data.some((option) => /^(?:upper|work)dir=[^/]/.test(option)))
    return none;
  const directories = splitLower(lowers[0]?.slice(LOWER.length) ?? "");
  let common = directories[0] ?? "";
  if (directories.length === 1) common = parent(common);
  for (const directory of directories) {
    while (common !== "" && !`${directory}/`.startsWith(`${common}/`)) common = parent(common);
  }
  if (!common.startsWith("/")) return none;
  const relative = directories.map((directory) => (directory === common ? "." : directory.slice(common.length + 1)));
  return {
    directory: unquote(common),
    data: data.map((option) => (option.startsWith(LOWER) ? `${LOWER}${relative.join(":")}` : option)),
  };
}

/** The text of an option without the backslashes that protect characters in it. */
export function unquote(text: string): string {
  return text.replace(/\\(.)/gs, "$1");
}

function parent(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}
