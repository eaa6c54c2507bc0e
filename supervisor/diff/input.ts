/** A layer's bytes, uncompressed, out of its blob. */

import {
  close,
  dieWithParent,
  forbidNewPrivileges,
  keepCapabilities,
  limitResource,
  O,
  open,
  pipe,
  Resource,
  readAll,
  readInto,
  readRange,
  setPipeSize,
  spawn,
  statusOfFile,
  waitForChild,
  writeRange,
} from "../../shim/linux/index.ts";
import { layerCommand } from "./command.ts";
import { type Compression, detectCompression } from "./compression.ts";
import { CompressionError, Inflater } from "./inflate.ts";
import { checkLimit, type Limits } from "./limits.ts";

/** From this size on it pays to decompress in a process of its own, beside the one that hashes and writes. */
const HELPER_FROM = 1 << 20;
const PIPE_BYTES = 1 << 20;
const OUTPUT_BYTES = 128 << 10;
const MAX_COMPLAINT = 4096;

/** The uncompressed bytes of one blob, hashed as they are read. */
export class LayerInput {
  readonly #limits: Limits;
  readonly #hash = new Bun.CryptoHasher("sha256");
  readonly #compressed: number;
  readonly #source: Source;
  #size = 0;

  /** @throws ErrnoError when the blob cannot be opened */
  constructor(blob: string, compression: "detect" | "none", limits: Limits) {
    this.#limits = limits;
    const fd = open(blob, O.RDONLY);
    this.#compressed = statusOfFile(fd).size;
    const head = Buffer.alloc(4);
    const found = compression === "none" ? "none" : detectCompression(head.subarray(0, readRange(fd, head, 0, 4, 0)));
    this.#source = sourceOf(found, fd, this.#compressed);
  }

  /** Reads into the buffer; 0 is the end. @throws CompressionError, LimitError, ErrnoError */
  read(into: Buffer, from: number, to: number): number {
    const count = this.#source.read(into, from, to);
    if (count === 0) return 0;
    this.#hash.update(into.subarray(from, from + count));
    this.#size += count;
    const { bytes, ratio, ratioFrom } = this.#limits;
    checkLimit(this.#size, bytes, `${this.#size} bytes`);
    if (this.#size > ratioFrom && this.#size > ratio * this.#compressed) {
      checkLimit(
        Math.ceil(this.#size / this.#compressed),
        ratio,
        "more bytes for each compressed one than any honest one",
      );
    }
    return count;
  }

  /** Bytes read so far. */
  get size(): number {
    return this.#size;
  }

  /** Digest of all bytes read; once, at the end. */
  digest(): string {
    return `sha256:${this.#hash.digest("hex")}`;
  }
}

interface Source {
  read(into: Buffer, from: number, to: number): number;
}

function sourceOf(compression: Compression, fd: number, size: number): Source {
  if (compression === "none") return { read: (into, from, to) => readInto(fd, into.subarray(from, to)) };
  if (size < HELPER_FROM) return new Inflater(compression, (into) => readInto(fd, into));
  return new Helper(compression, fd);
}

/** Decompression in a child, which reads the blob and writes into a pipe. */
class Helper implements Source {
  readonly #pid: number;
  readonly #output: number;
  readonly #complaint: number;
  #status: number | undefined;

  constructor(compression: "gzip" | "zstd", blob: number) {
    const [output, itsOutput] = pipe();
    const [complaint, itsComplaint] = pipe();
    setPipeSize(output, PIPE_BYTES);
    const argv = layerCommand("inflate", compression, String(process.pid));
    const [path = ""] = argv;
    this.#pid = spawn({ path, argv, env: {}, fds: [blob, itsOutput, itsComplaint] });
    this.#output = output;
    this.#complaint = complaint;
    for (const fd of [blob, itsOutput, itsComplaint]) close(fd);
  }

  read(into: Buffer, from: number, to: number): number {
    const count = readInto(this.#output, into.subarray(from, to));
    if (count > 0) return count;
    // It has ended, well or not: only its status tells whether this is the end of the layer.
    this.#status ??= waitForChild(this.#pid);
    if (this.#status === 0) return 0;
    const text = new TextDecoder().decode(readAll(this.#complaint, MAX_COMPLAINT)).trim();
    throw new CompressionError(text === "" ? `decompression ended with status ${this.#status}` : text);
  }
}

/** `berth layer inflate WAY PARENT`: decompresses its standard input. @returns the exit status */
export async function inflate(args: readonly string[]): Promise<number> {
  const [way, parent] = args;
  dieWithParent(Number(parent));
  forbidNewPrivileges();
  limitResource(Resource.CORE, 0);
  keepCapabilities([]);
  const inflater = new Inflater(way === "zstd" ? "zstd" : "gzip", (into) => readInto(0, into));
  const output = Buffer.allocUnsafeSlow(OUTPUT_BYTES);
  try {
    for (;;) {
      const count = inflater.read(output, 0, OUTPUT_BYTES);
      if (count === 0) return 0;
      writeRange(1, output, 0, count);
    }
  } catch (error) {
    await Bun.write(Bun.stderr, (error as Error).message);
    return 1;
  }
}
