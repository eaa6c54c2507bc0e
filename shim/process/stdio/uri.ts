/** The addresses of stdio in requests (IO-1). */

import { invalidArgument } from "../../../proto/errdefs.ts";

/** Where one stream goes. */
export type Target =
  | { readonly kind: "null" }
  | { readonly kind: "fifo"; readonly path: string }
  | {
      readonly kind: "file";
      readonly path: string;
      /** Settings of the log, without the question mark; empty for bytes as they come, and no limits. */
      readonly query: string;
    }
  | {
      readonly kind: "binary";
      readonly path: string;
      readonly args: readonly string[];
      /** The logger must say that it is ready with a byte, not only by closing the pipe (binary-v2). */
      readonly mustConfirm: boolean;
    };

/**
 * Parses a stdio address.
 * @param stream names it in the message
 * @throws ContainerdError InvalidArgument for a scheme that this shim does not serve, or a path that is not absolute
 */
export function parseTarget(uri: string, stream: string): Target {
  if (uri === "") return { kind: "null" };
  if (/\0|%00/.test(uri)) throw invalidArgument(`${stream} address ${JSON.stringify(uri)} holds a NUL character`);
  if (uri.startsWith("/") || !uri.includes("://")) return { kind: "fifo", path: absolute(uri, stream) };
  let url: URL;
  try {
    url = new URL(uri);
  } catch {
    throw invalidArgument(`${stream} address ${JSON.stringify(uri)} is no URI`);
  }
  const path = decoded(uri, stream);
  switch (url.protocol) {
    case "fifo:":
      return { kind: "fifo", path: absolute(path, stream) };
    case "file:":
      return { kind: "file", path: absolute(path, stream), query: url.search.slice(1) };
    case "binary:":
    case "binary-v2:":
      return {
        kind: "binary",
        path: absolute(path, stream),
        args: firstOfEach(url.searchParams),
        mustConfirm: url.protocol === "binary-v2:",
      };
    default:
      throw invalidArgument(`unknown STDIO scheme ${url.protocol.slice(0, -1)} in ${stream} address ${uri}`);
  }
}

/** The path of a URI, without query and fragment. */
function decoded(uri: string, stream: string): string {
  try {
    return decodeURIComponent(uri.slice(uri.indexOf("://") + 3).replace(/[?#].*$/s, ""));
  } catch {
    throw invalidArgument(`${stream} address ${JSON.stringify(uri)} holds a "%" that starts no character`);
  }
}

/** Query pairs as arguments: each key, then its first value (upstream process/io_util.go). */
function firstOfEach(query: URLSearchParams): string[] {
  const args = new Map<string, string>();
  for (const [key, value] of query) if (!args.has(key)) args.set(key, value);
  return [...args].flat();
}

function absolute(path: string, stream: string): string {
  if (!path.startsWith("/")) throw invalidArgument(`${stream} path ${JSON.stringify(path)} is not absolute`);
  return path;
}
