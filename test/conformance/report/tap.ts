/** The Test Anything Protocol, version 14. */

import type { Report, Result } from "../result.ts";

export function tapReport({ results }: Report): string {
  const lines = results.flatMap((result, index) => [line(result, index + 1), ...details(result)]);
  return ["TAP version 14", `1..${results.length}`, ...lines, ""].join("\n");
}

function line({ id, title, level, outcome, reason }: Result, number: number): string {
  const isOk = outcome === "pass" || outcome === "skip";
  const name = `${id} ${level}: ${title}`.replaceAll("#", "\\#");
  const short = reason?.split("\n")[0] ?? "";
  const isKnown = outcome === "expected" || (outcome === "fail" && level === "should");
  const directive = outcome === "skip" ? ` # SKIP ${short}` : isKnown ? ` # TODO ${short}` : "";
  return `${isOk ? "ok" : "not ok"} ${number} - ${name}${directive.trimEnd()}`;
}

function details({ failure, source, outcome, reason }: Result): string[] {
  if (failure === undefined && outcome !== "error" && outcome !== "passed-unexpectedly") return [];
  const fields = { ...failure, source, ...(reason === undefined ? {} : { reason }) };
  // JSON is YAML.
  return ["  ---", ...Object.entries(fields).map(([key, value]) => `  ${key}: ${JSON.stringify(value)}`), "  ..."];
}
