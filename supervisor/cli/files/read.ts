/** Reading below the process's root: what is there, and as an archive. */

import {
  type Bytes,
  bytesOf,
  close,
  namesIn,
  O,
  openWithin,
  readSymlink,
  S,
  type Status,
  statusOfFile,
  statusOfPath,
  writeRange,
} from "../../../shim/linux/index.ts";
import { LayerWriter } from "../../diff/layer.ts";
import { baseOf, cleanPath, parentOf } from "../../diff/path.ts";
import { type HeaderFields, TarWriter } from "../../diff/tar/writer.ts";
import type { ReadRequest, StatAnswer, StatRequest } from "./request.ts";

/** Links one behind the other, as the kernel has it. */
const MAX_LINKS = 40;

function kindOf({ mode }: Status): "file" | "directory" | "other" {
  const type = mode & S.IFMT;
  return type === S.IFREG ? "file" : type === S.IFDIR ? "directory" : "other";
}

/** What is at a path below the root. @throws ErrnoError */
export function statTree(root: number, { path }: StatRequest): StatAnswer {
  const bytes = `/${cleanPath(bytesOf(path))}`;
  const status = statusOfPath(bytes);
  if (status === undefined) return { kind: "missing", target: "missing", mode: 0 };
  const mode = status.mode & 0o7777;
  if ((status.mode & S.IFMT) !== S.IFLNK) return { kind: kindOf(status), target: kindOf(status), mode };
  const fd = openWithin(root, bytes, O.PATH);
  if (fd === undefined) return { kind: "link", target: "missing", mode };
  try {
    return { kind: "link", target: kindOf(statusOfFile(fd)), mode };
  } finally {
    close(fd);
  }
}

/** Writes what is at a path as an archive to standard output. @throws ErrnoError */
export function readTree({ path, as, follow }: ReadRequest): void {
  const source = follow ? followed(cleanPath(bytesOf(path))) : cleanPath(bytesOf(path));
  const status = statusOfPath(`/${source}`);
  if (status === undefined) throw new Error(`there is no ${JSON.stringify(path)}`);
  // The topmost entry has another name in the archive than here.
  const [from, name] = [baseOf(source), bytesOf(as)];
  const tar = new RenamingWriter(from, name);
  const directory = parentOf(source);
  if (from === "") {
    // The root itself has no name that could be replaced.
    const layer = new LayerWriter(tar, "/.");
    for (const [child, childStatus] of entriesBelow("")) layer.add({ kind: "add", path: child, status: childStatus });
  } else {
    const layer = new LayerWriter(tar, directory === "" ? "/." : `/${directory}`);
    const prefix = directory === "" ? "" : `/${directory}`;
    if (name !== "") layer.add({ kind: "add", path: from, status });
    if ((status.mode & S.IFMT) === S.IFDIR) {
      for (const [child, childStatus] of entriesBelow(from, prefix))
        layer.add({ kind: "add", path: child, status: childStatus });
    }
  }
  tar.end();
  tar.flush();
}

/** The path without a link at its end. @throws Error for links without end */
function followed(path: Bytes): Bytes {
  let at = path;
  for (let links = 0; links <= MAX_LINKS; links++) {
    const status = statusOfPath(`/${at}`);
    if (status === undefined || (status.mode & S.IFMT) !== S.IFLNK) return at;
    const target = readSymlink(`/${at}`);
    at = cleanPath(target.startsWith("/") ? target : `${parentOf(at)}/${target}`);
  }
  throw new Error(`${JSON.stringify(path)} is a link that leads to itself`);
}

/** Everything below a directory, a directory before what is in it. @param prefix path above it, with a slash before */
function* entriesBelow(path: Bytes, prefix: Bytes = ""): Generator<[Bytes, Status]> {
  const below = (name: Bytes): Bytes => (path === "" ? name : `${path}/${name}`);
  for (const name of namesIn(`${prefix}/${path}`)) {
    const child = below(name);
    const status = statusOfPath(`${prefix}/${child}`);
    // It has gone meanwhile: files of a running container do.
    if (status === undefined) continue;
    yield [child, status];
    if ((status.mode & S.IFMT) === S.IFDIR) yield* entriesBelow(child, prefix);
  }
}

const PIECE = 128 << 10;

/** Writes an archive to standard output, with another name for what is topmost. */
class RenamingWriter extends TarWriter {
  readonly #from: Bytes;
  readonly #to: Bytes;
  readonly #piece: Buffer;
  readonly #state: { end: number };

  constructor(from: Bytes, to: Bytes) {
    const piece = Buffer.allocUnsafeSlow(PIECE);
    const state = { end: 0 };
    super((buffer, start, end) => {
      if (end - start > PIECE - state.end) {
        writeRange(1, piece, 0, state.end);
        state.end = 0;
      }
      if (end - start >= PIECE) writeRange(1, buffer, start, end);
      else {
        buffer.copy(piece, state.end, start, end);
        state.end += end - start;
      }
    });
    this.#from = from;
    this.#to = to;
    this.#piece = piece;
    this.#state = state;
  }

  override header(fields: HeaderFields): void {
    const name = this.#renamed(fields.name);
    if (name === "") return;
    const target = fields.type === "1" ? this.#renamed(fields.target ?? "") : fields.target;
    super.header({ ...fields, name, ...(target === undefined ? {} : { target }) });
  }

  flush(): void {
    writeRange(1, this.#piece, 0, this.#state.end);
    this.#state.end = 0;
  }

  #renamed(name: Bytes): Bytes {
    return below(this.#to, name.slice(this.#from.length).replace(/^\//, ""));
  }
}

function below(directory: Bytes, name: Bytes): Bytes {
  if (directory === "") return name;
  return name === "" ? directory : `${directory}/${name}`;
}
