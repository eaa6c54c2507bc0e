/** The image of the played application, in versions that it can tell from within. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { archive, entry } from "../lib/archive.ts";
import { findBusybox } from "../lib/image.ts";
import { writeImageOf } from "../lib/layered-image.ts";

const applets = "sh cat sleep nc test date echo head true false".split(" ");
const mtime = 1_700_000_000;

/** busybox, the same in every version, and data of some size. */
function base(): Uint8Array {
  return archive(
    ...["bin", "etc", "tmp", "proc", "sys", "dev", "data"].map((name) =>
      entry({ name: `${name}/`, type: "5", mode: 0o755, mtime }),
    ),
    entry({ name: "bin/busybox", mode: 0o755, mtime, body: readFileSync(findBusybox()) }),
    ...applets.map((name) => entry({ name: `bin/${name}`, type: "2", target: "busybox", mode: 0o777, mtime })),
    entry({ name: "etc/passwd", mode: 0o644, mtime, body: "root:x:0:0:root:/root:/bin/sh\n" }),
  );
}

/** Writes an archive with the image `name` whose file /version says which it is. @returns its path */
export function writeVersion(dir: string, name: string, version: string): string {
  const path = join(dir, `${version}.tar`);
  writeImageOf(path, name, [base(), archive(entry({ name: "version", mode: 0o644, mtime, body: `${version}\n` }))]);
  return path;
}

/** The port on which the application tells its version. */
export const PORT = 18_080;

/** The application's file. @param options.health what `web` is asked; `wrong` makes a version that never gets well */
export function compose(image: string, options: { readonly wrong?: boolean; readonly note?: string } = {}): string {
  const check = options.wrong ? "test -f /never" : "cat /version";
  return `# ${options.note ?? "An application of an edge node."}
name: shop
services:
  db:
    image: ${image}
    command: ["sh", "-c", "while true; do date +%s > /data/beat; sleep 1; done"]
    volumes: ["beats:/data"]
    restart: always
    stop_grace_period: 500ms
    healthcheck: { test: ["CMD", "test", "-f", "/data/beat"], interval: 2s, retries: 3, start_period: 20s, start_interval: 250ms }
  web:
    image: ${image}
    command: ["sh", "-c", "exec nc -ll -p 8080 -e cat /version"]
    ports: ["${PORT}:8080"]
    depends_on: { db: { condition: service_healthy } }
    restart: unless-stopped
    stop_grace_period: 500ms
    healthcheck: { test: ["CMD-SHELL", "${check}"], interval: 1s, timeout: 5s, retries: 3, start_interval: 250ms, start_period: 3s }
  meter:
    image: ${image}
    command: ["sh", "-c", "while true; do echo reading of the meter $$(date +%s); sleep 0.2; done"]
    restart: always
    stop_grace_period: 500ms
    logging: { driver: json-file, options: { max-size: 64k, max-file: "2" } }
    deploy: { resources: { limits: { memory: 64M, cpus: "0.5" } } }
volumes:
  beats: {}
`;
}
