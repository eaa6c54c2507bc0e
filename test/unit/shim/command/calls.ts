/** The calls of containerd's that were captured: see test/fixtures/shim-calls.json. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { containerd } from "../../../../proto/gen/shim.js";
import { root } from "../../../lib/paths.ts";

/** One binary call of a containerd, and what its own shim answered. */
export interface CapturedCall {
  readonly containerd: string;
  readonly case: string;
  readonly action: "start" | "delete" | "info";
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Uint8Array;
  readonly answer: Uint8Array;
  /** For the title of a test. */
  readonly title: string;
}

type Recorded = Omit<CapturedCall, "stdin" | "answer" | "title"> & { stdinHex: string; goShimStdoutHex: string };

const recorded = JSON.parse(readFileSync(join(root, "test/fixtures/shim-calls.json"), "utf8")) as Recorded[];

/** All 48 captured calls. */
export const calls: readonly CapturedCall[] = recorded.map(({ stdinHex, goShimStdoutHex, ...call }) => ({
  ...call,
  stdin: Uint8Array.fromHex(stdinHex),
  answer: Uint8Array.fromHex(goShimStdoutHex),
  title: `${call.containerd} ${call.case} ${call.action}`,
}));

/** The address in what the Go shim printed, in any of its three forms (ST-4); "" where it printed none. */
export function addressIn(answer: Uint8Array): string {
  const text = new TextDecoder().decode(answer).trim();
  if (text.startsWith("unix:") || text === "") return text;
  if (text.startsWith("{")) return (JSON.parse(text) as { address: string }).address;
  return containerd.runtime.bootstrap.v1.BootstrapResult.decode(answer).address;
}
