/** The command line of a binary call, in the syntax of Go's flag package (INV-2). */

/** What the command line says. */
export interface Flags {
  readonly namespace: string;
  readonly id: string;
  /** containerd's GRPC address. */
  readonly address: string;
  readonly publishBinary: string;
  readonly bundle: string;
  readonly socket: string;
  readonly debugSocket: string;
  readonly debug: boolean;
  readonly version: boolean;
  readonly info: boolean;
  /** What follows the flags: `start` or `delete`; empty when nothing does. */
  readonly action: string;
}

/** A command line that cannot be understood; the text is for the person who wrote it. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

const texts = new Map<string, keyof Flags>([
  ["namespace", "namespace"],
  ["id", "id"],
  ["address", "address"],
  ["publish-binary", "publishBinary"],
  ["bundle", "bundle"],
  ["socket", "socket"],
  ["debug-socket", "debugSocket"],
]);
const switches = new Map<string, keyof Flags>([
  ["debug", "debug"],
  ["v", "version"],
  ["version", "version"],
  ["info", "info"],
]);
/** What strconv.ParseBool takes. */
const truths = new Map<string, boolean>([
  ...["1", "t", "T", "true", "TRUE", "True"].map((text) => [text, true] as const),
  ...["0", "f", "F", "false", "FALSE", "False"].map((text) => [text, false] as const),
]);

/**
 * Parses `-x v`, `--x v`, `-x=v`, `-switch`; flags end at the first argument that is none, or at `--`.
 * @throws UsageError
 */
export function parseFlags(args: readonly string[]): Flags {
  const flags: Record<string, string | boolean> = {
    namespace: "",
    id: "",
    address: "",
    publishBinary: "",
    bundle: "",
    socket: "",
    debugSocket: "",
    debug: false,
    version: false,
    info: false,
    action: "",
  };
  let at = 0;
  for (; at < args.length; at++) {
    const arg = args[at] ?? "";
    if (arg === "--") {
      at++;
      break;
    }
    if (!/^-./.test(arg)) break;
    if (!/^--?[^-=]/.test(arg)) throw new UsageError(`bad flag syntax: ${arg}`);
    const [name = "", value] = splitOnce(arg.replace(/^--?/, ""));
    const toggle = switches.get(name);
    const text = texts.get(name);
    if (toggle !== undefined) {
      const truth = value === undefined ? true : truths.get(value);
      if (truth === undefined) throw new UsageError(`invalid boolean value ${JSON.stringify(value)} for -${name}`);
      flags[toggle] = truth;
    } else if (text !== undefined) {
      const given = value ?? args[++at];
      if (given === undefined) throw new UsageError(`flag needs an argument: -${name}`);
      flags[text] = given;
    } else {
      throw new UsageError(`flag provided but not defined: -${name}`);
    }
  }
  flags["action"] = args[at] ?? "";
  return flags as unknown as Flags;
}

function splitOnce(text: string): [string, string?] {
  const equals = text.indexOf("=");
  return equals < 0 ? [text] : [text.slice(0, equals), text.slice(equals + 1)];
}
