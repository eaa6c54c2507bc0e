/**
 * Cleans up after a process that used a scope, however that process ended: it holds the other end of our stdin, so its
 * end, even by SIGKILL, is our end of file.
 *
 * Usage: bun guard.ts TOKEN DIR
 */

import { closeScope } from "./scope.ts";

const [token, dir] = process.argv.slice(2);
if (token === undefined || dir === undefined) throw new Error("usage: guard.ts TOKEN DIR");
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
await Bun.stdin.text();
closeScope({ token, dir });
