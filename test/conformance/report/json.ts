/** The report as data: what `merge` reads. */

import { readFileSync } from "node:fs";
import type { Report } from "../result.ts";

export function jsonReport(report: Report): string {
  return `${JSON.stringify(report, undefined, 2)}\n`;
}

/** @throws Error in one sentence */
export function readReport(path: string): Report {
  let value: Partial<Report> | null;
  try {
    value = JSON.parse(readFileSync(path, "utf8")) as Partial<Report> | null;
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`);
  }
  if (value?.format !== 1 || !Array.isArray(value.results)) {
    throw new Error(`${path} is no report: berth conformance --format json makes one`);
  }
  return value as Report;
}
