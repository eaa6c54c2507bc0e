/** The Transfer service as a client uses it: images between registries, archives and the daemon's store. */

import { ContainerdError } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import type { Api } from "./api.ts";
import { ClientStream, receiveBytes, type StreamMessage, sendBytes } from "./stream.ts";

const types = containerd.types.transfer;
const PREFIX = "containerd.types.transfer.";
/** How long the last progress may take after the transfer itself has been answered, in milliseconds. */
const LAST_PROGRESS_MS = 2000;
const AuthType = { NONE: 0, CREDENTIALS: 1, REFRESH: 2 } as const;

/** One step of progress. */
export interface TransferStep {
  readonly event: string;
  /** What it is about; empty for the whole. */
  readonly name: string;
  readonly parents: readonly string[];
  /** Bytes. */
  readonly progress: number;
  readonly total: number;
  /** The blob that it is about. */
  readonly desc: { readonly mediaType: string; readonly digest: string; readonly size: number } | undefined;
}

/** Who somebody is to a registry. */
export interface RegistryCredentials {
  /** Empty when the secret is a refresh token. */
  readonly username: string;
  readonly secret: string;
}

/** Where and how a transfer is made. */
export interface TransferPlace {
  readonly api: Api;
  readonly namespace: string;
  readonly signal?: AbortSignal | undefined;
  readonly lease?: string | undefined;
  readonly onStep?: ((step: TransferStep) => void) | undefined;
}

/** A registry as one end. */
export interface RegistryOptions {
  /** Ask by HTTP. */
  readonly plainHttp?: boolean | undefined;
  /** Directory of hosts.toml files, as the daemon sees it. */
  readonly hostsDirectory?: string | undefined;
  /** Asked for each host that wants to know who we are. */
  readonly credentials?: ((host: string) => Promise<RegistryCredentials | undefined>) | undefined;
}

/** A platform as its parts. */
export type PlatformMessage = containerd.types.Platform.$Properties;

/** Which images are made of what comes. */
export interface StoreOptions {
  /** None: every platform. */
  readonly platforms?: readonly PlatformMessage[];
  readonly labels?: Readonly<Record<string, string>>;
  /** Unpack into this snapshotter; empty for the daemon's default; undefined for not at all. */
  readonly unpack?: string | undefined;
}

type StoreMessage = containerd.types.transfer.ImageStore.$Properties;

/** Pulls an image under its full name. @throws CallError */
export async function pullImage(
  place: TransferPlace,
  reference: string,
  registry: RegistryOptions = {},
  store: StoreOptions = {},
): Promise<void> {
  await withRegistry(place, reference, registry, (source) =>
    transfer(place, source, storeEnd({ name: reference, ...storeFields(store) })),
  );
}

/** Pushes an image to where `reference` says. @param name the image @throws CallError */
export async function pushImage(
  place: TransferPlace,
  name: string,
  reference: string,
  registry: RegistryOptions = {},
  platforms: readonly PlatformMessage[] = [],
): Promise<void> {
  await withRegistry(place, reference, registry, (destination) =>
    transfer(place, storeEnd({ name, platforms: [...platforms] }), destination),
  );
}

/**
 * Imports an archive of docker or OCI.
 * @param prefix name for what the archive gives no name; images are named after it with their digest
 * @throws CallError
 */
export async function importArchive(
  place: TransferPlace,
  bytes: AsyncIterable<Uint8Array>,
  prefix: string,
  store: StoreOptions = {},
): Promise<void> {
  const stream = await ClientStream.open(place.api, place.namespace, "import");
  const source = {
    type_url: `${PREFIX}ImageImportStream`,
    value: types.ImageImportStream.encode({ stream: stream.id }).finish(),
  };
  const extraReferences = [
    { name: prefix, isPrefix: true, allowOverwrite: true, addDigest: true, skipNamedDigest: true },
  ];
  let sent: unknown;
  const sending = sendBytes(stream, bytes).catch((error: unknown) => {
    sent = error;
    stream.cancel();
  });
  try {
    await transfer(place, source, storeEnd({ ...storeFields(store), extraReferences }));
  } catch (error) {
    // Of a source that broke off, the daemon sees only that.
    throw sent ?? error;
  } finally {
    stream.cancel();
  }
  await sending;
}

/**
 * Exports images as one archive.
 * @param write takes its bytes
 * @throws CallError, what `write` throws
 */
export async function exportArchive(
  place: TransferPlace,
  names: readonly string[],
  write: (bytes: Uint8Array) => Promise<void>,
  options: { readonly platforms?: readonly PlatformMessage[]; readonly allPlatforms?: boolean } = {},
): Promise<void> {
  const stream = await ClientStream.open(place.api, place.namespace, "export");
  const { platforms = [], allPlatforms = false } = options;
  const destination = {
    type_url: `${PREFIX}ImageExportStream`,
    value: types.ImageExportStream.encode({ stream: stream.id, platforms: [...platforms], allPlatforms }).finish(),
  };
  const stop = new AbortController();
  let failure: unknown;
  const receiving = (async () => {
    for await (const bytes of receiveBytes(stream)) await write(bytes);
  })().catch((error: unknown) => {
    failure = error;
    stop.abort();
  });
  const signal = place.signal ? AbortSignal.any([place.signal, stop.signal]) : stop.signal;
  const [name = "", ...more] = names;
  const extraReferences = more.map((other) => ({ name: other }));
  try {
    await transfer({ ...place, signal }, storeEnd({ name, extraReferences }), destination);
    await receiving;
  } catch (error) {
    throw failure ?? error;
  } finally {
    stream.cancel();
  }
  if (failure !== undefined) throw failure;
}

function storeEnd(store: StoreMessage): StreamMessage {
  return { type_url: `${PREFIX}ImageStore`, value: types.ImageStore.encode(store).finish() };
}

function storeFields({ platforms = [], labels = {}, unpack }: StoreOptions): StoreMessage {
  return {
    platforms: [...platforms],
    labels: { ...labels },
    unpacks: unpack === undefined ? [] : [{ platform: platforms[0] ?? null, snapshotter: unpack }],
  };
}

async function withRegistry(
  { api, namespace }: TransferPlace,
  reference: string,
  { plainHttp, hostsDirectory, credentials }: RegistryOptions,
  work: (end: StreamMessage) => Promise<void>,
): Promise<void> {
  const auth = credentials && (await ClientStream.open(api, namespace, "auth"));
  if (auth && credentials) void answer(auth, credentials);
  const resolver = {
    ...(auth ? { authStream: auth.id } : {}),
    ...(hostsDirectory ? { hostDir: hostsDirectory } : {}),
    ...(plainHttp ? { defaultScheme: "http" } : {}),
  };
  const value = types.OCIRegistry.encode({ reference, resolver }).finish();
  try {
    await work({ type_url: `${PREFIX}OCIRegistry`, value });
  } finally {
    auth?.cancel();
  }
}

/** Answers questions for credentials until the stream ends. What goes wrong is an answer without any. */
async function answer(
  stream: ClientStream,
  credentials: (host: string) => Promise<RegistryCredentials | undefined>,
): Promise<void> {
  try {
    for (let message = await stream.receive(); message !== undefined; message = await stream.receive()) {
      const { host } = types.AuthRequest.decode(message.value ?? new Uint8Array());
      const given = await credentials(host).catch(() => undefined);
      const authType =
        given === undefined ? AuthType.NONE : given.username === "" ? AuthType.REFRESH : AuthType.CREDENTIALS;
      const value = types.AuthResponse.encode({ authType, ...given }).finish();
      stream.send({ type_url: `${PREFIX}AuthResponse`, value });
    }
  } catch {
    // The transfer says what went wrong.
  }
}

/** Makes one transfer. @throws CallError */
async function transfer(
  { api, namespace, signal, lease, onStep }: TransferPlace,
  source: StreamMessage,
  destination: StreamMessage,
): Promise<void> {
  const progress = onStep && (await ClientStream.open(api, namespace, "progress"));
  const told = progress && onStep ? follow(progress, onStep) : Promise.resolve();
  try {
    const options = progress ? { progressStream: progress.id } : {};
    await api.call(
      "containerd.services.transfer.v1.Transfer",
      "Transfer",
      { source, destination, options },
      // A transfer takes as long as it takes; the user ends it.
      { namespace, lease, signal, deadlineMs: 0 },
    );
    let timer: Timer | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, LAST_PROGRESS_MS);
    });
    await Promise.race([told, late]);
    clearTimeout(timer);
  } finally {
    progress?.cancel();
  }
}

async function follow(stream: ClientStream, onStep: (step: TransferStep) => void): Promise<void> {
  try {
    for (let message = await stream.receive(); message !== undefined; message = await stream.receive()) {
      const { desc, event, name, parents, progress, total } = types.Progress.decode(message.value ?? new Uint8Array());
      const { mediaType, digest, size } = desc ?? {};
      onStep({
        event,
        name,
        parents,
        progress: Number(progress),
        total: Number(total),
        desc: desc ? { mediaType: mediaType ?? "", digest: digest ?? "", size: Number(size ?? 0) } : undefined,
      });
    }
  } catch {
    // Progress is no more than that.
  }
}

/** True for what a daemon without the Transfer service (containerd before 1.7) answers. */
export function lacksTransfer(error: unknown): boolean {
  return error instanceof ContainerdError && error.code === Code.Unimplemented && /unknown service/.test(error.message);
}
