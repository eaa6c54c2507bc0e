/** What one test file did: every test by name, with its failure. */

/** One test. */
export interface Case {
  /** With the names of the groups it is described in. */
  readonly name: string;
  readonly outcome: "passed" | "failed" | "skipped";
  /** Why it failed or was skipped. */
  readonly message: string;
  readonly seconds: number;
}

/** How the program that ran the file ended. */
export interface Ended {
  readonly exitCode: number;
  /** Both streams. */
  readonly output: string;
  /** The junit report; undefined when there is none. */
  readonly junit: string | undefined;
}

/** Name of the case that stands for what went wrong outside of tests. */
export const outside = "(outside of a test)";

/**
 * Reads the tests of a file from bun's junit report; skip reasons come from the output (test/lib/skip.ts). A test that
 * was only filtered out is no case. What fails outside of a test, and a file without a report, is a failed case.
 */
export function readCases({ exitCode, output, junit }: Ended): Case[] {
  if (junit === undefined) {
    return [failure(`no report, exit code ${exitCode}: ${lastLines(output, 12)}`)];
  }
  const lines = output.split("\n");
  const reasonOf = (name: string): string | undefined => {
    const start = `SKIP ${name}: `;
    return lines.find((line) => line.startsWith(start))?.slice(start.length);
  };
  const shown = new Set([...output.matchAll(/^\(skip\) (.*)$/gm)].map((match) => match[1] ?? ""));
  const cases: Case[] = [];
  for (const match of junit.matchAll(/<testcase ([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)) {
    const [, attributes = "", body = ""] = match;
    const [own, parents] = [attribute(attributes, "name"), attribute(attributes, "classname")];
    const name = parents === "" ? own : `${parents} > ${own}`;
    const seconds = Number(attribute(attributes, "time"));
    const failed = /<failure ([^>]*)/.exec(body)?.[1];
    if (failed !== undefined) {
      const message = attribute(failed, "message") || attribute(failed, "type");
      cases.push({ name, outcome: "failed", message, seconds });
    } else if (body.includes("<skipped")) {
      const reason = reasonOf(own) ?? reasonOf(name);
      if (reason === undefined && !shown.has(name)) continue;
      cases.push({ name, outcome: "skipped", message: reason ?? "no reason given", seconds });
    } else {
      cases.push({ name, outcome: "passed", message: "", seconds });
    }
  }
  const told = Number(/<testsuites\b[^>]*\bfailures="(\d+)"/.exec(junit)?.[1] ?? 0);
  const seen = cases.filter((one) => one.outcome === "failed").length;
  if (told > seen || (exitCode !== 0 && seen === 0 && !output.includes("matched 0 tests"))) {
    cases.push(failure(`exit code ${exitCode}: ${lastErrors(output)}`));
  }
  return cases;
}

function failure(message: string): Case {
  return { name: outside, outcome: "failed", message, seconds: 0 };
}

/** The error that was printed last, with what follows it, or else the end of the output. */
function lastErrors(output: string): string {
  const at = output.lastIndexOf("\nerror: ");
  return at < 0
    ? lastLines(output, 12)
    : output
        .slice(at + 1)
        .trimEnd()
        .split("\n")
        .slice(0, 12)
        .join("\n");
}

function lastLines(text: string, count: number): string {
  return text.trimEnd().split("\n").slice(-count).join("\n");
}

const entities: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function attribute(text: string, name: string): string {
  const raw = new RegExp(`\\b${name}="([^"]*)"`).exec(text)?.[1] ?? "";
  return raw.replace(/&(?:#(\d+)|#x([0-9a-f]+)|([a-z]+));/gi, (whole, decimal, hex, named) => {
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
    return entities[named] ?? whole;
  });
}
