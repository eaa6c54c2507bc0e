/** `berth layer compare`: writes the layer that leads from one tree to another, in a process with mounts of its own. */

import {
  Capability,
  changeRoot,
  dieWithParent,
  forbidNewPrivileges,
  keepCapabilities,
  limitResource,
  makeDirectoryAt,
  mountAll,
  O,
  open,
  Resource,
  readAll,
  unshareMounts,
  writeRange,
} from "../../shim/linux/index.ts";
import { answer } from "./answer.ts";
import { changesOf } from "./changes.ts";
import { Deflater } from "./deflate.ts";
import { LayerWriter } from "./layer.ts";
import type { Compared, CompareRequest } from "./request.ts";
import { directoriesAbove, hasUserMarks, mountReadOnly } from "./stack.ts";
import { type Output, TarWriter } from "./tar/writer.ts";

const MAX_REQUEST = 16 << 20;
/** What reading needs: files of others, and the trusted marks of overlayfs. */
const kept = [Capability.DAC_OVERRIDE, Capability.FOWNER, Capability.SYS_ADMIN];

/** Reads the request from standard input, writes the layer to standard output and the answer to standard error. */
export function compare(): Promise<number> {
  return answer(
    () => compareTrees(JSON.parse(new TextDecoder().decode(readAll(0, MAX_REQUEST))) as CompareRequest),
    Bun.stderr,
  );
}

function compareTrees(request: CompareRequest): Compared {
  dieWithParent(request.parent);
  forbidNewPrivileges();
  limitResource(Resource.CORE, 0);
  unshareMounts();
  const above = prepare(request);
  const hash = new Bun.CryptoHasher("sha256");
  const output = new Collected((buffer, from, to) => writeRange(1, buffer, from, to));
  const deflater = request.compression === "none" ? undefined : new Deflater(request.compression, output.write);
  const sink: Output = deflater ? (buffer, from, to) => deflater.write(buffer, from, to) : output.write;
  // Headers come in small pieces: hashed and compressed one by one they would cost more than they are.
  const pieces = new Collected((buffer, from, to) => {
    hash.update(buffer.subarray(from, to));
    sink(buffer, from, to);
  });
  const tar = new TarWriter(pieces.write);
  const layer = new LayerWriter(tar, "upper", request.latest);
  const marks = hasUserMarks(request.upper) ? "user" : "trusted";
  for (const change of changesOf({ lower: "lower", upper: "upper", above, marks })) layer.add(change);
  tar.end();
  pieces.flush();
  deflater?.end();
  output.flush();
  return { digest: `sha256:${hash.digest("hex")}` };
}

/** Makes a root of directories and mounts, and enters it. @returns the paths there of what is above the lower tree */
function prepare({ lower, upper, mountPoint }: CompareRequest): string[] | undefined {
  mountAll([{ type: "tmpfs", source: "tmpfs", target: "", options: ["mode=0700", "size=64k"] }], mountPoint);
  const at = (name: string): string => `${mountPoint}/${name}`;
  makeDirectoryAt(at("lower"), 0o700);
  makeDirectoryAt(at("upper"), 0o700);
  if (lower.length > 0) mountReadOnly(lower, at("lower"));
  if (upper.length > 0) mountReadOnly(upper, at("upper"));
  const directories = directoriesAbove(upper, lower);
  directories?.forEach((source, i) => {
    makeDirectoryAt(at(`above${i}`), 0o700);
    mountReadOnly([{ type: "bind", source, target: "", options: ["bind"] }], at(`above${i}`));
  });
  changeRoot(open(mountPoint, O.RDONLY | O.DIRECTORY));
  keepCapabilities(kept);
  return directories?.map((_, i) => `above${i}`);
}

const PIECE_BYTES = 128 << 10;

/** Collects small pieces of output into large ones; large ones pass. */
class Collected {
  readonly #sink: Output;
  readonly #buffer = Buffer.allocUnsafeSlow(PIECE_BYTES);
  #end = 0;

  constructor(sink: Output) {
    this.#sink = sink;
  }

  readonly write: Output = (buffer, from, to) => {
    if (to - from > PIECE_BYTES - this.#end) this.flush();
    if (to - from >= PIECE_BYTES) {
      this.#sink(buffer, from, to);
      return;
    }
    buffer.copy(this.#buffer, this.#end, from, to);
    this.#end += to - from;
  };

  flush(): void {
    if (this.#end > 0) this.#sink(this.#buffer, 0, this.#end);
    this.#end = 0;
  }
}
