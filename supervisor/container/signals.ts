/** Names of signals. */

import { constants } from "node:os";
import { invalidArgument } from "../../proto/errdefs.ts";
import { nearest } from "../config/nearest.ts";

const numbers: Readonly<Record<string, number>> = constants.signals;
const RTMIN = 34;
const RTMAX = 64;

/**
 * The number of a signal: `TERM`, `SIGTERM`, `15`, `RTMIN+3`.
 * @throws ContainerdError InvalidArgument
 */
export function signalNumber(text: string): number {
  if (/^\d{1,2}$/.test(text)) {
    const number = Number(text);
    if (number >= 1 && number <= RTMAX) return number;
  }
  const name = text.toUpperCase().replace(/^SIG/, "");
  const [, base, sign, offset] = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name) ?? [];
  if (base !== undefined) {
    const number = (base === "MIN" ? RTMIN : RTMAX) + (sign === "-" ? -1 : 1) * Number(offset ?? 0);
    if (number >= RTMIN && number <= RTMAX) return number;
  }
  const number = numbers[`SIG${name}`];
  if (number !== undefined) return number;
  const best = nearest(`SIG${name}`, Object.keys(numbers));
  throw invalidArgument(
    `there is no signal ${JSON.stringify(text.slice(0, 40))}${best ? `: did you mean ${best}?` : ""}`,
  );
}
