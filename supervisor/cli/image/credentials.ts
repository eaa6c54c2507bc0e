/**
 * Credentials for registries, where docker keeps them: `config.json` in `DOCKER_CONFIG` or `~/.docker`, and the helper
 * programs that it names. `berth login` writes there, too.
 */

import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { RegistryCredentials } from "../../client/transfer.ts";
import { writeDurably } from "../../store/file.ts";

/** How Docker Hub is called in the file. */
const HUB = "https://index.docker.io/v1/";
const HELPER_MS = 20_000;

interface AuthEntry {
  readonly auth?: string;
  readonly identitytoken?: string;
}

interface DockerConfig {
  readonly auths?: Readonly<Record<string, AuthEntry>>;
  readonly credHelpers?: Readonly<Record<string, string>>;
  readonly credsStore?: string;
}

/** Path of the file. */
export function credentialsPath(env: Readonly<Record<string, string | undefined>> = process.env): string {
  return join(env["DOCKER_CONFIG"] || join(env["HOME"] || homedir(), ".docker"), "config.json");
}

/** @throws Error for a file that cannot be read, with its path */
function readConfig(path: string): DockerConfig {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw new Error(`cannot read ${path}: ${(error as Error).message}`);
  }
  try {
    const value: unknown = JSON.parse(text || "{}");
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as DockerConfig;
  } catch {
    // Said below.
  }
  throw new Error(`${path} is no JSON object: mend or remove it`);
}

/** The names under which a host's credentials may be kept. */
function keysOf(host: string): string[] {
  const isHub = /^(?:docker\.io|index\.docker\.io|registry-1\.docker\.io)$/.test(host);
  return isHub
    ? [HUB, "docker.io", "index.docker.io"]
    : [host, `https://${host}`, `http://${host}`, `https://${host}/v1/`, `https://${host}/v2/`];
}

/** The credentials for a host; undefined when there are none. @throws Error for a file or helper that does not work */
export async function credentialsFor(host: string, path = credentialsPath()): Promise<RegistryCredentials | undefined> {
  const config = readConfig(path);
  for (const key of keysOf(host)) {
    const helper = config.credHelpers?.[key];
    if (helper !== undefined) return askHelper(helper, key);
  }
  for (const key of keysOf(host)) {
    const entry = config.auths?.[key];
    const found = entry && decode(entry);
    if (found) return found;
  }
  return config.credsStore ? askHelper(config.credsStore, keysOf(host)[0] ?? host) : undefined;
}

function decode({ auth, identitytoken }: AuthEntry): RegistryCredentials | undefined {
  if (identitytoken) return { username: "", secret: identitytoken };
  const text = Buffer.from(auth ?? "", "base64").toString("utf8");
  const colon = text.indexOf(":");
  return colon <= 0 ? undefined : { username: text.slice(0, colon), secret: text.slice(colon + 1).replace(/\0+$/, "") };
}

/** Runs `docker-credential-NAME get`. */
async function askHelper(name: string, key: string): Promise<RegistryCredentials | undefined> {
  if (!/^[\w.-]+$/.test(name)) throw new Error(`${JSON.stringify(name)} is no name of a credential helper`);
  const { execa } = await import("execa");
  const { stdout, exitCode } = await execa(`docker-credential-${name}`, ["get"], {
    input: key,
    timeout: HELPER_MS,
    reject: false,
    stderr: "ignore",
  });
  if (exitCode !== 0) return undefined;
  try {
    const { Username, Secret } = JSON.parse(stdout) as { Username?: unknown; Secret?: unknown };
    if (typeof Username !== "string" || typeof Secret !== "string") return undefined;
    return { username: Username === "<token>" ? "" : Username, secret: Secret };
  } catch {
    return undefined;
  }
}

/** Keeps credentials for a host in the file, which only its owner may read. What else is in it stays. @throws Error */
export function saveCredentials(
  host: string,
  { username, secret }: RegistryCredentials,
  path = credentialsPath(),
): void {
  const config = readConfig(path);
  const [key = host] = keysOf(host);
  const auth = Buffer.from(`${username}:${secret}`).toString("base64");
  writeConfig(path, { ...config, auths: { ...config.auths, [key]: { auth } } });
}

/** Removes a host's credentials. @returns false when there were none @throws Error */
export function removeCredentials(host: string, path = credentialsPath()): boolean {
  const config = readConfig(path);
  const keys = keysOf(host);
  const entries = Object.entries(config.auths ?? {});
  const left = entries.filter(([key]) => !keys.includes(key));
  if (left.length === entries.length) return false;
  writeConfig(path, { ...config, auths: Object.fromEntries(left) });
  return true;
}

function writeConfig(path: string, config: DockerConfig): void {
  writeDurably(path, `${JSON.stringify(config, undefined, "\t")}\n`);
}

/** A `USER[:PASSWORD]`; without a password it is asked for on the terminal. @throws Error where nobody can be asked */
export async function credentialsOfFlag(text: string): Promise<RegistryCredentials> {
  const colon = text.indexOf(":");
  if (colon > 0) return { username: text.slice(0, colon), secret: text.slice(colon + 1) };
  return { username: text, secret: await askSecret(`Password of ${text}: `) };
}

/** Asks for something that is not shown while it is typed. @throws Error where there is no terminal */
export async function askSecret(question: string): Promise<string> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY)
    throw new Error("there is no terminal to ask for the password on: give USER:PASSWORD, or --password-stdin");
  stderr.write(question);
  stdin.setRawMode(true);
  try {
    let secret = "";
    for await (const chunk of stdin) {
      for (const character of (chunk as Buffer).toString("utf8")) {
        if (character === "\r" || character === "\n") return secret;
        if (character === "\x03" || character === "\x04") throw new Error("no password was given");
        secret = character === "\x7f" ? secret.slice(0, -1) : secret + character;
      }
    }
    return secret;
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write("\n");
  }
}
