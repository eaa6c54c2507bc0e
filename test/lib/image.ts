/** The image of the tests: busybox and nothing else, made without network as an OCI archive that `ctr` imports. */

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";

/** Name under which the archive is imported. */
export const imageName = "localhost/berth-test:latest";

interface TarEntry {
  name: string;
  mode: number;
  body?: Uint8Array;
  link?: string;
  directory?: boolean;
}

/** One ustar archive; names are at most 100 bytes, owner root, time 0, so that equal input gives equal bytes. */
export function tar(entries: readonly TarEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const entry of entries) {
    const body = entry.body ?? new Uint8Array();
    const header = Buffer.alloc(512);
    const octal = (value: number, at: number, size: number): void => {
      header.write(`${value.toString(8).padStart(size - 1, "0")}\0`, at, "latin1");
    };
    header.write(entry.name, 0, 100, "utf8");
    octal(entry.mode, 100, 8);
    octal(0, 108, 8);
    octal(0, 116, 8);
    octal(body.length, 124, 12);
    octal(0, 136, 12);
    header.write("        ", 148, "latin1");
    header.write(entry.directory ? "5" : entry.link === undefined ? "0" : "2", 156, "latin1");
    header.write(entry.link ?? "", 157, 100, "utf8");
    header.write("ustar\x0000", 257, "latin1");
    const sum = header.reduce((a, b) => a + b, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    parts.push(header, body, new Uint8Array((512 - (body.length % 512)) % 512));
  }
  parts.push(new Uint8Array(1024));
  return Buffer.concat(parts);
}

/** Names of busybox that the image has, separated by spaces. */
export const applets =
  "sh ash true false echo cat sleep kill ps ls id env printf head tail tee wc dd md5sum sha256sum mount umount " +
  "mkdir rm touch test stat seq yes grep awk sed date hostname nc stty tty vi ip usleep nproc find cp mv chmod chown";

/** The file system of the image: /bin/busybox with links for its applets, and the usual empty directories. */
function layer(busybox: Uint8Array): Uint8Array {
  const directories = ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "var"];
  const text = (s: string): Uint8Array => new TextEncoder().encode(s);
  return tar([
    ...directories.map((name) => ({ name: `${name}/`, mode: name === "tmp" ? 0o1777 : 0o755, directory: true })),
    { name: "bin/busybox", mode: 0o755, body: busybox },
    ...applets.split(" ").map((name) => ({ name: `bin/${name}`, mode: 0o777, link: "busybox" })),
    { name: "etc/passwd", mode: 0o644, body: text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n") },
    { name: "etc/group", mode: 0o644, body: text("root:x:0:\nuser:x:1000:\n") },
  ]);
}

/** The static busybox of this machine. @throws Error when there is none */
export function findBusybox(): string {
  const found = Bun.which("busybox", { PATH: `/bin:/usr/bin:/sbin:/usr/sbin:${process.env["PATH"] ?? ""}` });
  if (found === null) throw new Error("no busybox on this machine: install the package busybox-static");
  return found;
}

/** A blob with its descriptor. */
export interface ImageBlob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly body: Uint8Array;
}

/** The blobs of the test image. Its one layer is not compressed, so that its digest is its diff id too. */
export interface ImageParts {
  readonly layer: ImageBlob;
  readonly config: ImageBlob;
  readonly manifest: ImageBlob;
  readonly architecture: string;
}

/** Makes the test image in memory. */
export function makeImage(): ImageParts {
  const architecture = { x64: "amd64", arm64: "arm64" }[process.arch as string] ?? process.arch;
  const blob = (mediaType: string, body: Uint8Array): ImageBlob => {
    const digest = `sha256:${createHash("sha256").update(body).digest("hex")}`;
    return { mediaType, digest, size: body.length, body };
  };
  const described = ({ mediaType, digest, size }: ImageBlob) => ({ mediaType, digest, size });
  const root = blob("application/vnd.oci.image.layer.v1.tar", layer(readFileSync(findBusybox())));
  const config = blob(
    "application/vnd.oci.image.config.v1+json",
    json({
      architecture,
      os: "linux",
      created: "1970-01-01T00:00:00Z",
      config: { Env: ["PATH=/bin:/usr/bin"], Cmd: ["/bin/sh"], WorkingDir: "/" },
      rootfs: { type: "layers", diff_ids: [root.digest] },
      history: [{ created: "1970-01-01T00:00:00Z", created_by: "busybox" }],
    }),
  );
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const body = json({ schemaVersion: 2, mediaType, config: described(config), layers: [described(root)] });
  return { layer: root, config, manifest: blob(mediaType, body), architecture };
}

function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** Writes the OCI archive of the test image to `path` and returns the path. */
export function writeImageArchive(path: string, name: string = imageName): string {
  const { layer: root, config, manifest, architecture } = makeImage();
  const { mediaType, digest, size } = manifest;
  const index = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [
      {
        ...{ mediaType, digest, size },
        platform: { architecture, os: "linux" },
        annotations: { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.split(":").at(-1) },
      },
    ],
  };
  writeFileSync(
    path,
    tar([
      { name: "oci-layout", mode: 0o644, body: json({ imageLayoutVersion: "1.0.0" }) },
      { name: "blobs/", mode: 0o755, directory: true },
      { name: "blobs/sha256/", mode: 0o755, directory: true },
      ...[root, config, manifest].map((blob) => ({
        name: `blobs/sha256/${blob.digest.slice("sha256:".length)}`,
        mode: 0o644,
        body: blob.body,
      })),
      { name: "index.json", mode: 0o644, body: json(index) },
    ]),
  );
  return path;
}
