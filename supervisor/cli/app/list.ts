/** `berth apps ls`. */

import type { ResponseOf } from "../../client/api.ts";
import { dateOf } from "../../client/images.ts";
import type { Connection } from "../connect.ts";
import { ago } from "../output/age.ts";
import { shown } from "../output/escape.ts";
import { type ListFlags, type Listing, printList } from "../output/list.ts";

const APPLICATIONS = "berth.v1.Applications";

/** An application as the daemon tells it. */
export type AppMessage = ResponseOf<typeof APPLICATIONS, "List">["applications"][number];

/** `2/3 (1 healthy)`. */
export function countsOf({ containers }: Pick<AppMessage, "containers">): string {
  const all = containers ?? [];
  const running = all.filter(({ status }) => status === "running");
  const checked = running.filter(({ health }) => health);
  const healthy = checked.filter(({ health }) => health === "healthy").length;
  return `${running.length}/${all.length}${checked.length > 0 ? ` (${healthy} of ${checked.length} healthy)` : ""}`;
}

/** When it was changed last; undefined for one that never was. */
export function appliedAt({ appliedAt: at }: Pick<AppMessage, "appliedAt">): Date | undefined {
  return at ? dateOf(at) : undefined;
}

const listing: Listing<AppMessage> = {
  columns: (full) => [
    { header: "NAME", cell: ({ name }) => shown(name ?? "") },
    { header: "STATE", cell: ({ state }) => shown(state ?? "") },
    { header: "RUNNING", cell: countsOf },
    { header: "REVISION", cell: ({ revision }) => (revision ? String(revision) : "-"), align: "right" },
    { header: "CHANGED", cell: (app) => (appliedAt(app) ? ago(appliedAt(app)) : "-"), drop: 1 },
    { header: "FILE", cell: ({ file }) => shown(file || "-"), min: 20, drop: 2 },
    {
      header: "REASON",
      cell: ({ error }) => (full ? shown(error ?? "") : shown((error ?? "").split("\n", 1)[0] ?? "")),
      min: 20,
    },
  ],
  item: (app) => ({
    Name: app.name,
    State: app.state,
    Running: countsOf(app),
    Revision: app.revision ?? 0,
    GoodRevision: app.goodRevision ?? 0,
    File: app.file ?? "",
    Error: app.error ?? "",
    AppliedAt: appliedAt(app)?.toISOString() ?? null,
    Containers: (app.containers ?? []).map(({ id, service, image, status, health, revision }) => ({
      ...{ ID: id, Service: service, Image: image, Status: status, Health: health, Revision: revision },
    })),
  }),
  id: ({ name }) => name ?? "",
};

/** Lists applications. */
export async function listApplications({ api, namespace }: Connection, flags: ListFlags): Promise<void> {
  const { applications } = await api.call(APPLICATIONS, "List", {}, { namespace });
  await printList(applications, listing, flags);
}

/** What programs get of an application. */
export const itemOf = listing.item;
