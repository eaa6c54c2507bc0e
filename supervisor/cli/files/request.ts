/** What `berth cp` asks of the processes that touch files in its place. */

import type { Mount } from "../../../shim/linux/index.ts";

/** Where the files are. The process cannot leave it, whatever links are in it. */
export interface Tree {
  /** An open directory, such as `/proc/123/fd/9`, or a path; undefined when there are mounts. */
  readonly root?: string;
  /** A snapshot's mounts, made where nobody else sees them. */
  readonly mounts?: readonly Mount[];
  /** An empty directory to mount on. */
  readonly mountPoint?: string;
}

interface Common extends Tree {
  /** Of the process that waits: without it there is nothing to do. */
  readonly parent: number;
}

/** Asks what is at a path. */
export interface StatRequest extends Common {
  readonly path: string;
}

/** Writes what is at a path as a tar archive to standard output. */
export interface ReadRequest extends Common {
  readonly path: string;
  /** Name of the topmost entry; empty for only what is in the directory. */
  readonly as: string;
  /** A link at the path is followed. */
  readonly follow: boolean;
}

/** Unpacks a tar archive from standard input. */
export interface WriteRequest extends Common {
  /** Directory in the tree below which everything goes. */
  readonly into: string;
  /** Owner of everything; undefined for the archive's. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  /** Leave out device nodes, and bits that give rights away: for what comes from a container. */
  readonly isSafe: boolean;
  /** Bring it to disk. */
  readonly sync: boolean;
}

/** What is at a path. */
export interface StatAnswer {
  readonly kind: "missing" | "file" | "directory" | "link" | "other";
  /** What a link leads to; the same as `kind` for all others. */
  readonly target: "missing" | "file" | "directory" | "other";
  readonly mode: number;
}
