/**
 * Whether a host takes connections in time. fetch knows a limit for the beginning of an answer, which a mirror that asks
 * somebody else first may need long for, and none for the connection.
 */

import { connect } from "node:net";
import { TransientError, tellable } from "./errors.ts";

/** Where requests do not go to the host itself. */
const proxies = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];

/**
 * Makes a connection, and lets it go. Any other failure than silence is left to who asks for more.
 * @param ms how long it may take
 * @param signal ends the waiting
 * @throws TransientError when it takes longer
 */
export function dial(url: string, ms: number, signal: AbortSignal): Promise<void> {
  if (proxies.some((name) => process.env[name])) return Promise.resolve();
  const { protocol, hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: hostname.replace(/^\[(.*)\]$/, "$1"),
      port: Number(port || (protocol === "https:" ? 443 : 80)),
    });
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      socket.destroy();
      resolve();
    };
    const timer = setTimeout(() => {
      const what = `failed to do request: ${tellable(url)}: no connection within ${ms} ms: i/o timeout`;
      reject(new TransientError(what, { isRefused: true }));
      end();
    }, ms);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
    socket.once("connect", end);
    socket.once("error", end);
  });
}
