/** Small answers over HTTP: metrics, and looking inside. */

import { isAbsolute } from "node:path";
import { clearSocket, restrictSocket, type SocketOwner } from "./socket.ts";

/** Answers GET of one path. */
export type Answer = () => Promise<Response> | Response;

/** A server; ends when told. */
export interface HttpServer {
  stop(): Promise<void>;
}

/**
 * Serves GET of some paths.
 * @param address the path of a unix socket, or address and port of TCP
 * @param owner who may use the socket
 * @throws Error when the address is taken
 */
export async function serveHttp(
  address: string,
  answers: Readonly<Record<string, Answer>>,
  owner: SocketOwner,
): Promise<HttpServer> {
  const fetch = async (request: Request): Promise<Response> => {
    const { pathname } = new URL(request.url);
    const answer = Object.hasOwn(answers, pathname) ? answers[pathname] : undefined;
    if (answer === undefined) return new Response(`${Object.keys(answers).join("\n")}\n`, { status: 404 });
    if (request.method !== "GET" && request.method !== "HEAD") return new Response("GET only\n", { status: 405 });
    return answer();
  };
  const error = (cause: Error): Response => new Response(`${cause.message}\n`, { status: 500 });
  // Nothing here takes a body.
  const common = { fetch, error, maxRequestBodySize: 4096 };
  try {
    if (isAbsolute(address)) {
      await clearSocket(address);
      const server = Bun.serve({ ...common, unix: address });
      restrictSocket(address, owner);
      return { stop: () => server.stop(true) };
    }
    const [, hostname = "", port = ""] = /^\[?(.*?)\]?:(\d+)$/.exec(address) ?? [];
    const server = Bun.serve({ ...common, ...(hostname === "" ? {} : { hostname }), port: Number(port) });
    return { stop: () => server.stop(true) };
  } catch (cause) {
    throw new Error(`cannot serve at ${address}: ${(cause as Error).message}`, { cause });
  }
}
