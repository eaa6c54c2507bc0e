/** Two versions of a large image of one layer, of which a hundredth is new; made without holding them in memory. */

import { closeSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { Compressor, type Recipe } from "../../../supervisor/delta/recipe.ts";
import { entry } from "../../lib/archive.ts";
import { Random } from "../../lib/random.ts";

/** In which way the second version is another. */
export type Kind = "files" | "bytes" | "shift";
export const kinds: readonly Kind[] = ["files", "bytes", "shift"];
export const titles: Readonly<Record<Kind, string>> = {
  files: "1 % of 20,000 files are new",
  bytes: "1 % of one file is overwritten, in 100 places",
  shift: "1 % is inserted into one file, in 100 places",
};

/** An archive of an image. */
export interface Made {
  readonly path: string;
  /** Bytes of the layer, uncompressed and compressed. */
  readonly bytes: number;
  readonly compressed: number;
}

const FILES = 20_000;
const PLACES = 100;
const PART = 0.01;
const POOL = 8 << 20;

/** Bytes like a program's, which compress to about two thirds. */
function pool(): Buffer {
  const random = new Random(77);
  const bytes = Buffer.alloc(POOL);
  for (let at = 0; at < POOL; at++) bytes[at] = random.next() < 0.4 ? 0x48 : Math.floor(random.next() ** 2 * 256);
  return bytes;
}

const source = pool();

/** Bytes that are like others and are not found elsewhere: pieces of the pool, each changed by a number of its own. */
function filled(length: number, seed: number): Buffer {
  const random = new Random(seed);
  const bytes = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; ) {
    const from = random.between(0, POOL - 4096);
    const count = source.copy(bytes, at, from, from + 512 + random.between(0, 3000));
    const salt = random.between(1, 255);
    for (let i = at; i < at + count; i += 16) bytes[i] = (bytes[i] ?? 0) ^ salt;
    at += count;
  }
  return bytes;
}

/** The layer of one version, piece by piece. */
function* layer(kind: Kind, isNew: boolean, bytes: number): Generator<Buffer> {
  if (kind === "files") {
    const random = new Random(5);
    const unit = bytes / FILES;
    for (let i = 0; i < FILES; i++) {
      const length = Math.max(1, Math.floor(unit * 2 * random.next()));
      const isChanged = isNew && i % (1 / PART) === 17;
      const body = filled(length, isChanged ? 1_000_000 + i : i);
      yield entry({
        name: `opt/d${i % 200}/file-${i}`,
        body,
        mode: 0o644,
        mtime: 1_700_000_000 + (isChanged ? 99 : 0),
      });
    }
  } else {
    const piece = Math.floor(bytes / PLACES);
    const fresh = Math.floor(piece * PART);
    const size = piece * PLACES + (kind === "shift" && isNew ? fresh * PLACES : 0);
    yield entry({ name: "opt/large", size, body: "", mode: 0o644 }).subarray(0, 512);
    for (let i = 0; i < PLACES; i++) {
      const body = filled(piece, i);
      if (!isNew) yield body;
      else {
        yield filled(fresh, 1_000_000 + i);
        yield kind === "shift" ? body : body.subarray(fresh);
      }
    }
    yield Buffer.alloc((512 - (size % 512)) % 512);
  }
  yield Buffer.alloc(1024);
}

/** Writes the archive of one version. */
export function writeVersion(path: string, kind: Kind, isNew: boolean, bytes: number): Made {
  const header = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]).toString("base64");
  const recipe: Recipe = { kind: "gzip", header, level: 6, memory: 8 };
  const temporary = `${path}.layer`;
  const file = openSync(temporary, "w+");
  const [plain, packed] = [new Bun.CryptoHasher("sha256"), new Bun.CryptoHasher("sha256")];
  let [size, compressed] = [0, 0];
  const compressor = new Compressor(recipe, (part) => {
    packed.update(part);
    for (let done = 0; done < part.length; ) done += writeSync(file, part, done);
    compressed += part.length;
  });
  for (const part of layer(kind, isNew, bytes)) {
    plain.update(part);
    size += part.length;
    compressor.write(part);
  }
  compressor.end();
  const digest = `sha256:${packed.digest("hex")}`;
  archiveOf(path, file, { digest, compressed, diffId: `sha256:${plain.digest("hex")}` }, isNew ? "2" : "1");
  closeSync(file);
  rmSync(temporary);
  return { path, bytes: size, compressed };
}

function archiveOf(
  path: string,
  layerFile: number,
  made: { digest: string; compressed: number; diffId: string },
  tag: string,
): void {
  const out = openSync(path, "w");
  const write = (bytes: Uint8Array): void => {
    for (let done = 0; done < bytes.length; ) done += writeSync(out, bytes, done);
  };
  const add = (mediaType: string, value: unknown) => {
    const body = Buffer.from(JSON.stringify(value));
    const digest = `sha256:${new Bun.CryptoHasher("sha256").update(body).digest("hex")}`;
    write(entry({ name: `blobs/sha256/${digest.slice(7)}`, body }));
    return { mediaType, digest, size: body.length };
  };
  write(entry({ name: "oci-layout", body: JSON.stringify({ imageLayoutVersion: "1.0.0" }) }));
  const architecture = { x64: "amd64", arm64: "arm64" }[process.arch as string] ?? process.arch;
  const rootfs = { type: "layers", diff_ids: [made.diffId] };
  const config = add("application/vnd.oci.image.config.v1+json", { architecture, os: "linux", config: {}, rootfs });
  const layerType = "application/vnd.oci.image.layer.v1.tar+gzip";
  const layers = [{ mediaType: layerType, digest: made.digest, size: made.compressed }];
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = add(mediaType, { schemaVersion: 2, mediaType, config, layers });
  write(entry({ name: `blobs/sha256/${made.digest.slice(7)}`, size: made.compressed, body: "" }).subarray(0, 512));
  const buffer = Buffer.alloc(1 << 20);
  for (let at = 0; at < made.compressed; ) {
    const count = readSync(layerFile, buffer, 0, buffer.length, at);
    write(buffer.subarray(0, count));
    at += count;
  }
  write(Buffer.alloc((512 - (made.compressed % 512)) % 512));
  const annotations = { "io.containerd.image.name": `localhost/large:${tag}` };
  write(
    entry({
      name: "index.json",
      body: JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
    }),
  );
  write(Buffer.alloc(1024));
  closeSync(out);
}
