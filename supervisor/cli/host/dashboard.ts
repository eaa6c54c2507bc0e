/** `berth system dashboard`: a dashboard for Grafana. */

import dashboardOfNodes from "../../status/grafana-dashboard.json" with { type: "json" };
import { print } from "../output/terminal.ts";

/** Prints the dashboard, as Grafana imports it. */
export async function dashboard(): Promise<void> {
  await print(`${JSON.stringify(dashboardOfNodes, undefined, 2)}\n`);
}
