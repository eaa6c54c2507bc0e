/**
 * Runtime options (contract 1.13): runc's own message, or the generic one whose body is the TOML table of containerd's
 * configuration (OPT-2). Every field is honoured or refused.
 */

import { invalidArgument, messageOf } from "../../proto/errdefs.ts";
import { containerd, runtimeoptions } from "../../proto/gen/shim.js";
import { type Any, typeName } from "../../proto/typeurl.ts";
import { fileType, readFile } from "../linux/file.ts";

/** What a client may choose for its containers. */
export interface Options {
  readonly noPivotRoot: boolean;
  readonly noNewKeyring: boolean;
  readonly shimCgroup: string;
  readonly ioUid: number;
  readonly ioGid: number;
  readonly binaryName: string;
  readonly root: string;
  readonly systemdCgroup: boolean;
  readonly criuImagePath: string;
  readonly criuWorkPath: string;
}

const none: Options = {
  noPivotRoot: false,
  noNewKeyring: false,
  shimCgroup: "",
  ioUid: 0,
  ioGid: 0,
  binaryName: "",
  root: "",
  systemdCgroup: false,
  criuImagePath: "",
  criuWorkPath: "",
};

/** Option names as containerd spells them in its configuration, to ours. */
const tomlNames = new Map<string, keyof Options>([
  ["NoPivotRoot", "noPivotRoot"],
  ["NoNewKeyring", "noNewKeyring"],
  ["ShimCgroup", "shimCgroup"],
  ["IoUid", "ioUid"],
  ["IoGid", "ioGid"],
  ["BinaryName", "binaryName"],
  ["Root", "root"],
  ["SystemdCgroup", "systemdCgroup"],
  ["CriuImagePath", "criuImagePath"],
  ["CriuWorkPath", "criuWorkPath"],
]);
/** User and group ids have 32 bits; a larger one would become another user's in the kernel. */
const MAX_ID = 0xffff_ffff;

/**
 * Names that containerd itself puts beside runc's: `TypeUrl` and `ConfigPath` steer how the table is delivered, and
 * deprecated ones mean nothing to any shim.
 */
const ignoredNames = new Set(["TypeUrl", "ConfigPath", "ConfigBody", "CriuPath"]);

/**
 * Reads the options of `start` or Create (T-CRE-1).
 * @throws ContainerdError InvalidArgument for another type, an unknown key or a value of the wrong type
 */
export function parseOptions(any: Any | null | undefined): Options {
  if (any === null || any === undefined || (any.type_url ?? "") === "") return none;
  const value = any.value ?? new Uint8Array();
  switch (typeName(any)) {
    case "containerd.runc.v1.Options":
      return fromRunc(decode(() => containerd.runc.v1.Options.decode(value), "containerd.runc.v1.Options"));
    case "runtimeoptions.v1.Options":
    case "cri.runtimeoptions.v1.Options":
      return fromGeneric(decode(() => runtimeoptions.v1.Options.decode(value), "runtimeoptions.v1.Options"));
    default:
      throw invalidArgument(
        `runtime options of type ${JSON.stringify(any.type_url)} are not known: ` +
          "use containerd.runc.v1.Options or runtimeoptions.v1.Options",
      );
  }
}

function decode<T>(read: () => T, name: string): T {
  try {
    return read();
  } catch (error) {
    throw invalidArgument(`runtime options are no ${name}: ${messageOf(error)}`);
  }
}

function fromRunc(options: containerd.runc.v1.Options): Options {
  const address = options.taskApiAddress;
  if (address !== "") {
    throw invalidArgument(`runtime option task_api_address ${JSON.stringify(address)} is deprecated and not supported`);
  }
  return {
    noPivotRoot: options.noPivotRoot,
    noNewKeyring: options.noNewKeyring,
    shimCgroup: options.shimCgroup,
    ioUid: options.ioUid,
    ioGid: options.ioGid,
    binaryName: options.binaryName,
    root: options.root,
    systemdCgroup: options.systemdCgroup,
    criuImagePath: options.criuImagePath,
    criuWorkPath: options.criuWorkPath,
  };
}

function fromGeneric(options: runtimeoptions.v1.Options): Options {
  const body = options.configBody;
  if (body !== undefined && body.length > 0) return parseToml(new TextDecoder().decode(body), "runtime options");
  if (options.configPath === "") return none;
  // Opening a FIFO would wait for a writer, and with us every container of this shim.
  const type = fileType(options.configPath);
  if (type !== "file") {
    throw invalidArgument(`runtime options file ${options.configPath}: ${type ? "no regular file" : "no such file"}`);
  }
  let text: string;
  try {
    text = readFile(options.configPath, 1 << 20);
  } catch (error) {
    throw invalidArgument(`runtime options file: ${messageOf(error)}`);
  }
  return parseToml(text, options.configPath);
}

/**
 * Options from a TOML table with containerd's names.
 * @param where names the source in errors
 * @throws ContainerdError InvalidArgument
 */
export function parseToml(text: string, where: string): Options {
  let table: object;
  try {
    table = Bun.TOML.parse(text);
  } catch (error) {
    throw invalidArgument(`${where}: not valid TOML: ${messageOf(error)}`);
  }
  const options: Record<string, unknown> = { ...none };
  for (const [name, value] of Object.entries(table)) {
    if (ignoredNames.has(name)) continue;
    const key = tomlNames.get(name);
    if (key === undefined) throw invalidArgument(`${where}: unknown option ${JSON.stringify(name)}`);
    const type = typeof none[key];
    const fits = type === "number" ? Number.isInteger(value) && Number(value) >= 0 && Number(value) <= MAX_ID : true;
    if (typeof value !== type || !fits) {
      const wanted = type === "number" ? `whole number from 0 to ${MAX_ID}` : type;
      throw invalidArgument(`${where}: option ${name} must be a ${wanted}`);
    }
    options[key] = value;
  }
  return options as unknown as Options;
}
