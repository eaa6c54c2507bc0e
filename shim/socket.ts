/** Where shims listen, and what to do about a socket that is there already (contract 1.6). */

/** Whether a living shim is behind a socket that is there already (SK-2). */
export { hasListener as answers } from "./linux/listener.ts";

/** Longest path of a unix socket, in bytes, that containerd accepts (TestShimSockLength). */
const MAX_PATH_BYTES = 106;
/** Longest directory for sockets (SK-1): a slash and 64 hexadecimal digits must still fit. */
const MAX_DIRECTORY_BYTES = 42;

const scheme = "unix://";

/**
 * The socket path of a shim (SK-1).
 * @param grpcAddress containerd's address, so that two containerds do not meet
 * @param suffix "debug" for the debug socket
 * @throws Error when it would be too long
 */
export function socketPath(
  directory: string,
  grpcAddress: string,
  namespace: string,
  group: string,
  suffix?: "debug",
): string {
  if (!directory.startsWith("/") || new TextEncoder().encode(directory).length > MAX_DIRECTORY_BYTES) {
    throw new Error(
      `socket directory ${JSON.stringify(directory)} must be absolute and at most ${MAX_DIRECTORY_BYTES} bytes long`,
    );
  }
  // filepath.Join: parts joined with single slashes.
  const parts = [grpcAddress, namespace, group, ...(suffix === undefined ? [] : [suffix])].filter(
    (part) => part !== "",
  );
  const hash = new Bun.CryptoHasher("sha256").update(parts.join("/").replace(/\/+/g, "/")).digest("hex");
  return checkSocketPath(`${directory}/${hash}`);
}

/** Gives `path` back when a socket can have it. @throws Error when it is relative or too long (SK-1) */
export function checkSocketPath(path: string): string {
  if (!path.startsWith("/")) throw new Error(`socket path ${JSON.stringify(path)} must be absolute`);
  if (new TextEncoder().encode(path).length > MAX_PATH_BYTES) {
    throw new Error(`socket path ${path} is longer than ${MAX_PATH_BYTES} bytes`);
  }
  return path;
}

/** The directory for sockets when containerd names none (SK-1): root's, or a user's own. */
export function defaultSocketDirectory(uid: number): string {
  if (uid === 0) return "/run/containerd/s";
  const runtime = Bun.env["XDG_RUNTIME_DIR"];
  return runtime ? `${runtime}/containerd/s` : `/run/${uid}/containerd/s`;
}

/** A path as the address that containerd dials. */
export function addressOf(path: string): string {
  return scheme + path;
}

/** The path in an address; undefined for another kind of address. */
export function pathOf(address: string): string | undefined {
  return address.startsWith(`${scheme}/`) ? address.slice(scheme.length) : undefined;
}
