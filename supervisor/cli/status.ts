/** Exit statuses of `berth`, which are docker's. */

/** A verb that failed; `run` has {@link USAGE} for it. */
export const FAILED = 1;
/** A command line that makes no sense, and all of berth's own failures in `run`: no container ran. */
export const USAGE = 125;
/** The command is there, but cannot be run. */
export const CANNOT_INVOKE = 126;
/** The command is not there. */
export const NOT_FOUND = 127;

/** Ends a verb with a status; what there is to say has been said. */
export class ExitStatus extends Error {
  override readonly name = "ExitStatus";
  readonly status: number;

  constructor(status: number) {
    super(`exit status ${status}`);
    this.status = status;
  }
}

/**
 * The status that runc's words ask for, as docker reads them (daemon/start.go translateContainerdStartErr): 127 when the
 * command was not found, 126 when it could not be invoked; undefined for any other failure.
 */
export function statusOfStart(message: string): number | undefined {
  const text = message.toLowerCase();
  if (/executable file not found|exec:? .*no such file or directory/.test(text)) return NOT_FOUND;
  if (/exec format error/.test(text)) return CANNOT_INVOKE;
  const isExec = /exec:|unable to start container process|exec failed/.test(text);
  return isExec && /permission denied|is a directory|not a directory|argument list too long/.test(text)
    ? CANNOT_INVOKE
    : undefined;
}

/** The words of a failed start, with what to do where they say that the command is at fault. */
export function adviceOnStart(message: string): string {
  switch (statusOfStart(message)) {
    case NOT_FOUND:
      return `${message}; name a program that the image has, by its path if it is not in PATH`;
    case CANNOT_INVOKE:
      return `${message}; it must be a program of this machine's kind, with the right to be executed`;
    default:
      return message;
  }
}
