/** Where a delta goes: an archive in the OCI layout, or a registry. */

import { closeSync, fsyncSync, openSync, readSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { padding, TRAILER, tarHeader } from "../../image/archive/tar.ts";
import { descriptorJson, encodeJson } from "../../image/descriptor.ts";
import { mediaTypes } from "../../image/mediatype.ts";
import { ociReferenceName } from "../../image/reference.ts";
import type { Registry } from "../../image/registry.ts";
import { syncDirectory } from "../../store/file.ts";
import type { BuiltDelta, FileBlob } from "./builder.ts";
import { WorkBlobs } from "./work.ts";

const COPY_BYTES = 1 << 20;

/** Writes the archive; equal deltas give equal bytes. It takes the place of what has the path when it is whole. */
export function writeArchive(path: string, { document, manifest, blobs }: BuiltDelta): void {
  const { name } = document.new;
  const { artifactType } = manifest;
  const annotations = { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": ociReferenceName(name) };
  const index = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    manifests: [{ ...descriptorJson({ ...manifest, artifactType }), annotations }],
  };
  const temporary = `${path}.${process.pid}.part`;
  const file = openSync(temporary, "wx", 0o644);
  try {
    const write = (bytes: Uint8Array): void => {
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
    };
    const add = (entry: string, bytes: Uint8Array): void => {
      write(tarHeader(entry, 0o444, bytes.length));
      write(bytes);
      write(new Uint8Array(padding(bytes.length)));
    };
    add("oci-layout", encodeJson({ imageLayoutVersion: "1.0.0" }));
    // First: whoever reads it as it comes knows at once what it is.
    add("index.json", encodeJson(index));
    for (const blob of [manifest, ...blobs]) {
      write(tarHeader(`blobs/${blob.digest.replace(":", "/")}`, 0o444, blob.size));
      copyFile(blob, write);
      write(new Uint8Array(padding(blob.size)));
    }
    write(TRAILER);
    fsyncSync(file);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
  syncDirectory(dirname(path));
}

function copyFile({ path, size }: FileBlob, write: (bytes: Uint8Array) => void): void {
  const file = openSync(path, "r");
  try {
    const buffer = Buffer.allocUnsafeSlow(COPY_BYTES);
    for (let done = 0; done < size; ) {
      const count = readSync(file, buffer, 0, Math.min(COPY_BYTES, size - done), done);
      if (count === 0) throw new Error(`${path} became shorter while it was read`);
      write(buffer.subarray(0, count));
      done += count;
    }
  } finally {
    closeSync(file);
  }
}

/** Pushes a delta. @throws ContainerdError what the registry refuses with */
export async function pushDelta(
  registry: Registry,
  { manifest, blobs }: BuiltDelta,
  signal: AbortSignal,
  moved: (bytes: number) => void = () => undefined,
): Promise<void> {
  let before = 0;
  for (const blob of [...blobs, manifest]) {
    await registry.push(blob, () => WorkBlobs.openFile(blob.path), {
      ...{ signal, isRoot: blob === manifest },
      moved: (bytes) => moved(before + bytes),
    });
    before += blob.size;
  }
}
