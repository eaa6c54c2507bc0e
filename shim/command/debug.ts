/** The debug socket of `-debug` (PR-9): `GET /debug/state` is the state as JSON, `GET /debug/heap` a heap snapshot. */

import { removeFile } from "../linux/file.ts";

/** Serves HTTP on a unix socket, readable by its owner only. @throws Error when it cannot listen */
export function serveDebug(path: string, dump: () => object): void {
  removeFile(path);
  const mask = process.umask(0o177);
  try {
    Bun.serve({
      unix: path,
      fetch(request) {
        const { pathname } = new URL(request.url);
        if (pathname === "/debug/state") return Response.json(dump());
        if (pathname === "/debug/heap") return new Response(Bun.generateHeapSnapshot("v8", "arraybuffer"));
        return new Response("404: this shim has /debug/state and /debug/heap\n", { status: 404 });
      },
    });
  } finally {
    process.umask(mask);
  }
  process.on("exit", () => removeFile(path));
}
