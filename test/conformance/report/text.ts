/** A report for people: a summary by section, and the failures in full. */

import { count, isBad, type Report, type Result, sectionsOf } from "../result.ts";

const marks: Readonly<Record<Result["outcome"], string>> = {
  pass: "pass",
  fail: "FAIL",
  skip: "skip",
  expected: "known",
  "passed-unexpectedly": "PASSED",
  error: "ERROR",
};

export function textReport(report: Report): string {
  const failed = report.results.filter(({ outcome }) => ["fail", "error", "passed-unexpectedly"].includes(outcome));
  const sections = [...sectionsOf(report.results)].map(([name, results]) => sectionLine(name, results));
  const skipped = report.results.filter(({ outcome }) => outcome === "skip");
  return [
    `${report.name}  (${report.shim})`,
    report.machine,
    "",
    ...sections,
    ...(skipped.length > 0 ? ["", ...skipped.map(({ id, reason }) => `skip ${id}: ${reason}`)] : []),
    ...failed.flatMap((result) => ["", ...failureLines(result, report.shim)]),
    "",
    verdict(report),
    "",
  ].join("\n");
}

function sectionLine(name: string, results: readonly Result[]): string {
  const counts = count(results);
  const parts = [`${counts.pass} pass`];
  if (counts.fail > 0) parts.push(`${counts.fail} FAIL`);
  if (counts.expected > 0) parts.push(`${counts.expected} known to fail`);
  if (counts["passed-unexpectedly"] > 0) parts.push(`${counts["passed-unexpectedly"]} passed unexpectedly`);
  if (counts.error > 0) parts.push(`${counts.error} not run`);
  if (counts.skip > 0) parts.push(`${counts.skip} skipped`);
  return `${name.padEnd(22)} ${parts.join(", ")}`;
}

/** What is wrong, and how to see it again. */
export function failureLines(result: Result, shim: string): string[] {
  const { id, level, title, source, failure, outcome, reason } = result;
  const lines = [`${marks[outcome]} ${id}  ${level.toUpperCase()}  ${title}`];
  const add = (name: string, text: string): void => {
    for (const [index, line] of text.split("\n").entries())
      lines.push(`  ${(index === 0 ? name : "").padEnd(10)} ${line}`);
  };
  if (failure !== undefined) {
    add("expected", failure.expected);
    add("came back", failure.received);
    failure.exchanges.forEach((line, index) => {
      add(index === 0 ? "sent" : "", line);
    });
    failure.log.forEach((line, index) => {
      add(index === 0 ? "its log" : "", line);
    });
  }
  if (reason !== undefined) add(outcome === "passed-unexpectedly" ? "listed as" : "reason", reason);
  add("why", `contract ${id.split(".")[0]}; ${source}`);
  add("again", `berth conformance --shim ${shim} --only ${id} --verbose`);
  return lines;
}

function verdict({ results, ms }: Report): string {
  const counts = count(results);
  const bad = results.filter(isBad).length;
  const shoulds = results.filter(({ outcome, level }) => outcome === "fail" && level === "should").length;
  const told = [`${results.length} checks in ${(ms / 1000).toFixed(1)} s: ${counts.pass} passed`];
  if (counts.skip > 0) told.push(`${counts.skip} skipped`);
  if (counts.expected > 0) told.push(`${counts.expected} known to fail`);
  if (counts.error > 0) told.push(`${counts.error} could not be run`);
  if (shoulds > 0) told.push(`${shoulds} SHOULD failed`);
  told.push(bad === 0 ? "every MUST holds" : `${bad} MUST failed`);
  return told.join(", ");
}
