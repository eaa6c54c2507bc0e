/** Unpacking an archive below the process's root. */

import { type Bytes, bytesOf, readInto, syncFileSystem } from "../../../shim/linux/index.ts";
import { defaultLimits } from "../../diff/limits.ts";
import { cleanPath } from "../../diff/path.ts";
import type { Entry } from "../../diff/tar/entry.ts";
import { type Read, TarReader } from "../../diff/tar/reader.ts";
import { Unpacker } from "../../diff/unpack.ts";
import type { WriteRequest } from "./request.ts";

const PERMISSIONS = 0o777;
const STICKY = 0o1000;

/** Unpacks the archive on standard input. @throws ArchiveError, LimitError, ErrnoError */
export function writeTree(root: number, request: WriteRequest): void {
  const reader = new CopyReader((buffer, from, to) => readSome(buffer.subarray(from, to)), request);
  new Unpacker(reader, { marks: "none", lowers: [] }, defaultLimits).run();
  reader.drain();
  if (request.sync) syncFileSystem(root);
}

/** Reads from standard input, which whoever made it may have made not to block. */
function readSome(into: Uint8Array): number {
  for (;;) {
    const count = readInto(0, into);
    if (count >= 0) return count;
    Bun.sleepSync(1);
  }
}

/** Reads an archive, and says of each entry what becomes of it here. */
class CopyReader extends TarReader {
  readonly #request: WriteRequest;
  readonly #into: Bytes;

  constructor(read: Read, request: WriteRequest) {
    super(read);
    this.#request = request;
    this.#into = cleanPath(bytesOf(request.into));
  }

  override next(): Entry | undefined {
    for (let entry = super.next(); entry !== undefined; entry = super.next()) {
      if (this.#isWanted(entry)) return this.#changed(entry);
    }
    return undefined;
  }

  #isWanted({ type }: Entry): boolean {
    if (type === "global" || type === "unknown") return false;
    return !this.#request.isSafe || (type !== "character" && type !== "block");
  }

  #changed(entry: Entry): Entry {
    const { owner, isSafe } = this.#request;
    const below = (name: Bytes): Bytes => (this.#into === "" ? name : `${this.#into}/${cleanPath(name)}`);
    entry.name = below(entry.name);
    // A hard link names another entry, by its name in the archive.
    if (entry.type === "link") entry.target = below(entry.target);
    if (owner !== undefined) {
      entry.uid = owner.uid;
      entry.gid = owner.gid;
    }
    if (isSafe) {
      entry.mode &= PERMISSIONS | (entry.type === "directory" ? STICKY : 0);
      // Capabilities of a program are rights too.
      entry.attributes = new Map([...entry.attributes].filter(([name]) => name.startsWith("user.")));
    }
    return entry;
  }
}
