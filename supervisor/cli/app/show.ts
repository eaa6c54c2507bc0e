/** `berth apps show`. */

import { invalidArgument } from "../../../proto/errdefs.ts";
import type { ResponseOf } from "../../client/api.ts";
import { dateOf } from "../../client/images.ts";
import type { Connection } from "../connect.ts";
import { ago } from "../output/age.ts";
import { shown, shownJson, shownLines } from "../output/escape.ts";
import { tableOf } from "../output/table.ts";
import { print, widthOf } from "../output/terminal.ts";
import { appliedAt, countsOf, itemOf } from "./list.ts";

const APPLICATIONS = "berth.v1.Applications";

type Answer = ResponseOf<typeof APPLICATIONS, "Get">;

/** Shows one application. @throws CallError NotFound */
export async function showApplication({ api, namespace }: Connection, name: string, format: string): Promise<void> {
  if (!["text", "json", "yaml"].includes(format)) {
    throw invalidArgument(`--format ${JSON.stringify(format)}: it is text, json or yaml`);
  }
  const answer = await api.call(APPLICATIONS, "Get", { name }, { namespace });
  if (format === "yaml") await print(answer.text);
  else if (format === "json") {
    const revisions = answer.revisions.map(({ number, state, reason, digest, createdAt }) => ({
      ...{ Number: number, State: state, Reason: reason, Digest: digest },
      CreatedAt: createdAt ? dateOf(createdAt).toISOString() : null,
    }));
    await print(`${shownJson({ ...itemOf(answer.application ?? {}), Revisions: revisions }, 2)}\n`);
  } else await print(textOf(answer));
}

function textOf({ application, revisions }: Answer): string {
  const app = application ?? {};
  const width = widthOf();
  const facts: [string, string][] = [
    ["Name", shown(app.name ?? "")],
    ["State", shown(app.state ?? "")],
    ["Running", countsOf(app)],
    [
      "Revision",
      `${app.revision || "-"}${app.goodRevision && app.goodRevision !== app.revision ? ` (last good: ${app.goodRevision})` : ""}`,
    ],
    ["Changed", appliedAt(app) ? ago(appliedAt(app)) : "-"],
    ["File", shown(app.file || "- (berth apply)")],
  ];
  if (app.error) facts.push(["Error", shownLines(app.error).replaceAll("\n", `\n${" ".repeat(10)}`)]);
  const head = facts.map(([name, value]) => `${`${name}:`.padEnd(10)}${value}\n`).join("");
  const containers = tableOf(
    app.containers ?? [],
    [
      { header: "CONTAINER", cell: ({ id }) => shown(id ?? "") },
      { header: "SERVICE", cell: ({ service }) => shown(service ?? "") },
      {
        header: "STATUS",
        cell: ({ status, health }) => `${shown(status ?? "")}${health ? ` (${shown(health)})` : ""}`,
      },
      { header: "REVISION", cell: ({ revision }) => String(revision ?? ""), align: "right" },
      { header: "IMAGE", cell: ({ image }) => shown(image ?? ""), min: 20 },
    ],
    width,
  );
  const history = tableOf(
    revisions,
    [
      { header: "REVISION", cell: ({ number }) => String(number ?? ""), align: "right" },
      { header: "STATE", cell: ({ state }) => state || "-" },
      { header: "CREATED", cell: ({ createdAt }) => (createdAt ? ago(dateOf(createdAt)) : "-") },
      { header: "REASON", cell: ({ reason }) => shown(reason ?? ""), min: 20 },
    ],
    width,
  );
  return `${head}\n${containers}${revisions.length > 0 ? `\n${history}` : ""}`;
}
