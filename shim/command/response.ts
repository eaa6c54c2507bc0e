/**
 * The answer of `delete` on stdout: `containerd.task.v2.DeleteResponse` {1 pid, 2 exit_status, 3 exited_at {1 seconds,
 * 2 nanos}} (DL-2). It is written out by hand, because loading a protobuf library for these thirty bytes would take a
 * third of the call, which every container waits for; a test holds it to the library's bytes.
 */

/** @param exitedAt milliseconds since the epoch */
export function deleteResponse(pid: number, exitStatus: number, exitedAt: number): Uint8Array {
  const seconds = Math.floor(exitedAt / 1000);
  const nanos = Math.round((exitedAt - seconds * 1000) * 1e6);
  const time = [...field(1, seconds), ...field(2, nanos)];
  return new Uint8Array([...field(1, pid), ...field(2, exitStatus), 3 * 8 + 2, ...varint(time.length), ...time]);
}

/** A number field; protobuf leaves zeros out. */
function field(number: number, value: number): number[] {
  return value === 0 ? [] : [number * 8, ...varint(value)];
}

/** A number below 2^53, seven bits at a time; arithmetic, because `>>` knows 32 bits only. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return [...bytes, left];
    bytes.push((left % 128) + 128);
  }
}
