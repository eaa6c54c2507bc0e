/**
 * The one error class of berth, with containerd's vocabulary (errdefs/errors.go). Services throw it; it is translated
 * to a status once, at the RPC edge.
 */

import { Code, type Status, statusOf } from "./ttrpc/status.ts";

/** An error that a client sees: a code of containerd's vocabulary, and one sentence. */
export class ContainerdError extends Error {
  override readonly name = "ContainerdError";
  readonly code: Code;

  constructor(code: Code, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** The thing named does not exist. */
export function notFound(message: string): ContainerdError {
  return new ContainerdError(Code.NotFound, message);
}

/** The thing to be made is there already. */
export function alreadyExists(message: string): ContainerdError {
  return new ContainerdError(Code.AlreadyExists, message);
}

/** The request itself is wrong, whatever the state. */
export function invalidArgument(message: string): ContainerdError {
  return new ContainerdError(Code.InvalidArgument, message);
}

/** The request does not fit the state of the thing. */
export function failedPrecondition(message: string): ContainerdError {
  return new ContainerdError(Code.FailedPrecondition, message);
}

/** The thing is not to be had now, but may be soon. */
export function unavailable(message: string): ContainerdError {
  return new ContainerdError(Code.Unavailable, message);
}

/** A place beyond the end of the thing. */
export function outOfRange(message: string): ContainerdError {
  return new ContainerdError(Code.OutOfRange, message);
}

/** This service does not do that (containerd downgrades on exactly this code, TT-5). */
export function notImplemented(message: string): ContainerdError {
  return new ContainerdError(Code.Unimplemented, message);
}

/** A limit of time passed. */
export function deadlineExceeded(message: string): ContainerdError {
  return new ContainerdError(Code.DeadlineExceeded, message);
}

/** Something outside failed in a way that has no name of its own; containerd's untyped errors arrive like this. */
export function unknown(message: string, cause?: unknown): ContainerdError {
  return new ContainerdError(Code.Unknown, message, { cause });
}

/** What went wrong, in one sentence, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The status that tells a client about `error`: ours as it is, anything else by ttrpc's rules for errors. */
export function toStatus(error: unknown): Status {
  return error instanceof ContainerdError ? { code: error.code, message: error.message } : statusOf(error);
}
