/**
 * A large image for measurements: equal options give equal bytes, and what is in it is like what real images have: many
 * small files and a few large ones, deep directories, links, and upper layers that replace and remove.
 */

import { archive, entry } from "./archive.ts";
import { type Compression, writeImageOf } from "./layered-image.ts";

/** What to make. */
export interface LargeImageOptions {
  /** Bytes of all files; 500 MB unless told. */
  readonly bytes?: number;
  readonly files?: number;
  readonly layers?: number;
  readonly compression?: Compression;
  /** Name that the archive is imported under. */
  readonly name?: string;
}

/** Name under which the image is imported unless told. */
export const largeImageName = "localhost/berth-large:latest";

const PER_DIRECTORY = 40;
const POOL = 4 << 20;

/** Numbers from 0 to 1 that look random and never change (xorshift). */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Text like a program's, which compresses about 1:3, and bytes like a program's, about 2:3. */
function pools(): [text: Buffer, binary: Buffer] {
  const roll = dice(77);
  const words = Array.from({ length: 3000 }, () =>
    Array.from({ length: 2 + Math.floor(roll() * 9) }, () => String.fromCharCode(97 + Math.floor(roll() * 26))).join(
      "",
    ),
  );
  const text = Buffer.alloc(POOL);
  for (let at = 0; at < POOL; ) {
    at += text.write(`${words[Math.floor(roll() ** 2 * words.length)]}${roll() < 0.1 ? ";\n  " : " "}`, at, "latin1");
  }
  const binary = Buffer.alloc(POOL);
  for (let at = 0; at < POOL; at++) binary[at] = roll() < 0.4 ? 0x48 : Math.floor(roll() ** 2 * 256);
  return [text, binary];
}

/** One layer, uncompressed. */
function* layer(index: number, options: Required<LargeImageOptions>, source: readonly [Buffer, Buffer]) {
  const roll = dice(1000 + index);
  const files = Math.floor(options.files / options.layers);
  const bytes = options.bytes / options.layers;
  // Sizes spread over four powers of ten; scaled so that their sum is what was asked for.
  const weights = Array.from({ length: files }, () => 10 ** (roll() * 4));
  const unit = bytes / weights.reduce((a, b) => a + b, 0);
  const base = `opt/layer${index}`;
  for (const name of ["opt", base]) yield entry({ name: `${name}/`, type: "5", mode: 0o755, mtime: 1_700_000_000 });
  let directory = base;
  for (let i = 0; i < files; i++) {
    if (i % PER_DIRECTORY === 0) {
      directory = `${base}/d${Math.floor(i / PER_DIRECTORY / 20)}`;
      if (i % (20 * PER_DIRECTORY) === 0)
        yield entry({ name: `${directory}/`, type: "5", mode: 0o755, mtime: 1_700_000_000 });
      directory += `/e${i / PER_DIRECTORY}`;
      yield entry({ name: `${directory}/`, type: "5", mode: 0o755, mtime: 1_700_000_000 });
    }
    const name = `${directory}/file-${i}`;
    const mtime = 1_600_000_000 + Math.floor(roll() * 1e8);
    if (i % 50 === 49) {
      yield entry({ name, type: "2", target: `file-${i - 1}`, mode: 0o777, mtime });
    } else if (i % 100 === 30) {
      yield entry({ name, type: "1", target: `${directory}/file-${i - 1}`, mtime, uid: 1000, gid: 1000 });
    } else {
      const pool = source[roll() < 0.5 ? 0 : 1] ?? Buffer.alloc(0);
      const body = Buffer.allocUnsafe(Math.max(1, Math.floor((weights[i] ?? 1) * unit)));
      for (let at = 0; at < body.length; ) {
        const from = Math.floor(roll() * (POOL - 65536));
        at += pool.copy(body, at, from, from + 4096 + Math.floor(roll() * 32768));
      }
      const owner = i % 3 === 0 ? 1000 : 0;
      yield entry({ name, body, mode: i % 7 === 0 ? 0o755 : 0o644, mtime, uid: owner, gid: owner });
    }
  }
  if (index === 0) return;
  const below = `opt/layer${index - 1}/d0`;
  yield entry({ name: `opt/layer${index - 1}/`, type: "5", mode: 0o755, mtime: 1_700_000_000 });
  yield entry({ name: `${below}/`, type: "5", mode: 0o755, mtime: 1_700_000_000 });
  yield entry({ name: `${below}/.wh.e1`, mode: 0 });
  yield entry({ name: `${below}/e2/`, type: "5", mode: 0o755, mtime: 1_700_000_000 });
  yield entry({ name: `${below}/e2/.wh..wh..opq`, mode: 0 });
  yield entry({ name: `${below}/e2/new`, body: "new\n", mtime: 1_700_000_000 });
}

/** Writes the OCI archive of the image to `path`. */
export function writeLargeImage(path: string, given: LargeImageOptions = {}): void {
  const defaults = { bytes: 500e6, files: 20_000, layers: 6, compression: "gzip", name: largeImageName } as const;
  const options = { ...defaults, ...given };
  const source = pools();
  function* layers() {
    for (let i = 0; i < options.layers; i++) yield archive(...layer(i, options, source));
  }
  writeImageOf(path, options.name, layers(), options.compression);
}

/** `bun test/lib/large-image.ts PATH [JSON]` writes one for use by hand. */
if (import.meta.main) {
  const [path = "large.tar", options = "{}"] = process.argv.slice(2);
  writeLargeImage(path, JSON.parse(options) as LargeImageOptions);
}
