/** Reports in all their formats. */

import type { Format } from "../options.ts";
import type { Report } from "../result.ts";
import { htmlReport } from "./html.ts";
import { jsonReport } from "./json.ts";
import { junitReport } from "./junit.ts";
import { tapReport } from "./tap.ts";
import { textReport } from "./text.ts";

/** One report as text of a format. */
export function render(report: Report, format: Format): string {
  switch (format) {
    case "text":
      return textReport(report);
    case "tap":
      return tapReport(report);
    case "junit":
      return junitReport(report);
    case "json":
      return jsonReport(report);
    case "html":
      return htmlReport([report]);
  }
}

/** Several reports side by side; formats that have no columns get one after another. */
export function renderAll(reports: readonly Report[], format: Format): string {
  if (format === "html") return htmlReport(reports);
  if (format === "json") return `${JSON.stringify(reports, undefined, 2)}\n`;
  return reports.map((report) => render(report, format)).join("\n");
}
