/**
 * Status codes and the one error class of ttrpc.
 *
 * A ttrpc response carries a `google.rpc.Status`; its codes are those of gRPC. Every failure that this package reports
 * is a {@link TtrpcError}; every failure that it is asked to report to a peer goes through {@link statusOf}.
 */

/** The status codes of ttrpc, which are gRPC's (TT-8). */
export const Code = {
  OK: 0,
  Canceled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
} as const;
export type Code = (typeof Code)[keyof typeof Code];

/** The name of a code for people, such as "NotFound"; "Code(99)" for a number without a name. */
export function codeName(code: number): string {
  for (const [name, value] of Object.entries(Code)) {
    if (value === code) return name;
  }
  return `Code(${code})`;
}

/** A `google.protobuf.Any`, as status details carry it. */
export interface StatusDetail {
  readonly type_url: string;
  readonly value: Uint8Array;
}

/** What a failed call tells its caller. `code` is one of {@link Code}, but a peer may send any number. */
export interface Status {
  readonly code: number;
  readonly message: string;
  readonly details?: readonly StatusDetail[];
}

/** What can be given along with a {@link TtrpcError}. */
export interface TtrpcErrorOptions {
  readonly details?: readonly StatusDetail[];
  /** The system's name for the failure, such as "EADDRINUSE", where a system call failed. */
  readonly errno?: string;
  readonly cause?: unknown;
}

const noDetails: readonly StatusDetail[] = [];

/** The error of a failed call, and the error to throw in a handler to answer with a chosen code. */
export class TtrpcError extends Error implements Status {
  /** One of {@link Code}; a peer may send any number. */
  readonly code: number;
  readonly details: readonly StatusDetail[];
  /** The system's name for the failure, such as "EADDRINUSE", where a system call failed. */
  readonly errno: string | undefined;

  constructor(code: number, message: string, options?: TtrpcErrorOptions) {
    super(message, options !== undefined && "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.details = options?.details ?? noDetails;
    this.errno = options?.errno;
  }

  /** The error as one line for a log, such as "NotFound: container not created". */
  override toString(): string {
    return `${codeName(this.code)}: ${this.message}`;
  }
}
TtrpcError.prototype.name = "TtrpcError";

/**
 * The code for an error that carries an errno name, after ttrpc's convertCode (services.go), which follows Go's
 * os.IsExist, os.IsNotExist and os.IsPermission. Undefined when the error has no such name.
 */
function codeOfErrno(errno: unknown): Code | undefined {
  switch (errno) {
    case "ENOENT":
      return Code.NotFound;
    case "EEXIST":
    case "ENOTEMPTY":
      return Code.AlreadyExists;
    case "EACCES":
    case "EPERM":
      return Code.PermissionDenied;
    case "EOF":
      return Code.OutOfRange;
    default:
      return undefined;
  }
}

/**
 * The status that a peer is told for a thrown value: a {@link TtrpcError} speaks for itself, an aborted operation is
 * Canceled or DeadlineExceeded, an errno error has the code of ttrpc's convertCode, anything else is Unknown (TT-8).
 * Never throws.
 */
export function statusOf(error: unknown): Status {
  if (error instanceof TtrpcError) return error;
  try {
    if (error instanceof Error) {
      let code = codeOfErrno("code" in error ? error.code : undefined);
      if (code === undefined && error.name === "AbortError") code = Code.Canceled;
      if (code === undefined && error.name === "TimeoutError") code = Code.DeadlineExceeded;
      return { code: code ?? Code.Unknown, message: error.message };
    }
    return { code: Code.Unknown, message: String(error) };
  } catch {
    return { code: Code.Unknown, message: "an error that cannot be described" };
  }
}
