/** `berth login` and `logout`. */

import { messageOf } from "../../../proto/errdefs.ts";
import type { RegistryCredentials } from "../../client/transfer.ts";
import { HostClient } from "../../image/registry/client.ts";
import { hostsOf } from "../../image/registry/hosts.ts";
import { shown } from "../output/escape.ts";
import { print } from "../output/terminal.ts";
import { askSecret, credentialsPath, removeCredentials, saveCredentials } from "./credentials.ts";

export interface LoginFlags {
  readonly username?: string;
  readonly password?: string;
  readonly passwordStdin?: boolean;
  readonly plainHttp?: boolean;
  readonly insecure?: boolean;
}

/** Where the certificates of registries are, for the daemon and for us. */
const HOSTS = "/etc/berth/certs.d";
const LOGIN_MS = 60_000;

/** Asks a registry whether it believes the credentials, and keeps them. @throws Error */
export async function login(server: string, flags: LoginFlags): Promise<void> {
  const host = hostOf(server);
  const credentials = await credentialsOf(host, flags);
  await verify(host, credentials, flags);
  saveCredentials(host, credentials);
  await print(`Login Succeeded: the credentials are in ${credentialsPath()}\n`);
}

/** Forgets a registry's credentials. @throws Error */
export async function logout(server: string): Promise<void> {
  const host = hostOf(server);
  const path = credentialsPath();
  const isGone = removeCredentials(host);
  await print(
    isGone
      ? `Removed the credentials for ${host} from ${path}\n`
      : `Not logged in to ${host}: ${path} has nothing for it\n`,
  );
}

/** @throws Error for what is no host */
function hostOf(server: string): string {
  const host = server.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  if (!/^[\w.-]+(?::\d{1,5})?$|^\[[0-9a-f:]+\](?::\d{1,5})?$/i.test(host)) {
    throw new Error(`${JSON.stringify(server)} is no registry: give its host, with a port if it has one`);
  }
  return host;
}

async function credentialsOf(host: string, flags: LoginFlags): Promise<RegistryCredentials> {
  const { username, password, passwordStdin } = flags;
  if (username === undefined) throw new Error(`who are you to ${host}? give -u NAME`);
  if (passwordStdin) {
    const secret = (await Bun.stdin.text()).replace(/\r?\n$/, "");
    if (secret === "") throw new Error("standard input has no password");
    return { username, secret };
  }
  return { username, secret: password ?? (await askSecret("Password: ")) };
}

async function verify(host: string, credentials: RegistryCredentials, flags: LoginFlags): Promise<void> {
  const found = await hostsOf(host, { directory: HOSTS, defaultScheme: flags.plainHttp ? "http" : "" }).catch(
    (error: unknown) => {
      throw new Error(`${HOSTS}: ${messageOf(error)}`);
    },
  );
  const one = found.at(-1);
  if (one === undefined) throw new Error(`nothing is known of ${host}`);
  const tls = flags.insecure ? { ...one.tls, rejectUnauthorized: false } : one.tls;
  const client = new HostClient({ ...one, tls }, {}, async () => ({ ...credentials, header: "" }));
  const request = { method: "GET", target: `${one.path}/`, scopes: [], isRetried: false, mayDowngrade: false } as const;
  const response = await client.send(request, AbortSignal.timeout(LOGIN_MS)).catch((error: unknown) => {
    throw new Error(`${host} does not let us in: ${shown(messageOf(error))}`);
  });
  await response.body?.cancel();
  if (response.status === 401 || response.status === 403) {
    throw new Error(`${host} does not believe name and password: they were not kept`);
  }
  if (!response.ok) throw new Error(`${host} answers ${response.status}: is it a registry?`);
}
