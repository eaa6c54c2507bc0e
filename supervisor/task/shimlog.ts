/**
 * What a shim logs: it writes lines into the FIFO `log` of its bundle, which go into the daemon's own log. The FIFO is
 * open for writing here too, so it never ends by itself, and a daemon that comes later finds it as it was.
 */

import { byteReader, close, makeFifo, O, open } from "../../shim/linux/index.ts";

/** Longest line, in bytes; what is longer is cut into several. */
const MAX_LINE = 16 << 10;

/**
 * Opens the FIFO at `path`, which is made when it is not there, and passes each line on.
 * @returns the function that stops it
 * @throws Error when it can be neither made nor opened
 */
export function readShimLog(path: string, line: (text: string) => void): () => void {
  makeFifo(path, 0o700);
  const fd = open(path, O.RDWR | O.NONBLOCK | O.NOFOLLOW);
  const reader = byteReader(fd);
  let stopped = false;
  const stop = (): void => {
    if (stopped) return;
    stopped = true;
    void reader.cancel().catch(() => undefined);
    close(fd);
  };
  const read = async (): Promise<void> => {
    const decoder = new TextDecoder();
    let rest = "";
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done || stopped) break;
        const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
        rest = lines.pop() ?? "";
        for (const text of lines) if (text !== "") line(text.slice(0, MAX_LINE));
        if (rest.length > MAX_LINE) {
          line(rest.slice(0, MAX_LINE));
          rest = "";
        }
      }
    } catch {
      // Nothing can be read any more: the shim drops its lines then.
    }
    stop();
    if (rest !== "") line(rest.slice(0, MAX_LINE));
  };
  void read();
  return stop;
}
