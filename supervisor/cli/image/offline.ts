/** The work of `berth offline`. */

import type { ResponseOf } from "../../client/api.ts";
import type { Connection } from "../connect.ts";
import { duration } from "../output/age.ts";
import { shown } from "../output/escape.ts";
import { type ListFlags, type Listing, printList } from "../output/list.ts";
import { decimalSize } from "../output/size.ts";
import { note } from "../output/terminal.ts";

export interface OfflineFlags extends ListFlags {
  readonly scan?: boolean;
}

const IMAGES = "berth.v1.Images";

/** An archive or an image to fetch. */
interface Row {
  readonly source: string;
  readonly state: string;
  readonly images: readonly string[];
  /** What is to be known of it besides. */
  readonly note: string;
}

const listing: Listing<Row> = {
  columns: () => [
    { header: "SOURCE", cell: ({ source }) => shown(source), min: 20 },
    { header: "STATE", cell: ({ state }) => shown(state) },
    { header: "IMAGES", cell: ({ images }) => shown(images.join(" ")), min: 16 },
    { header: "NOTE", cell: ({ note: text }) => shown(text), min: 16 },
  ],
  item: ({ source, state, images, note: text }) => ({ Source: source, State: state, Images: images, Note: text }),
  id: ({ source }) => source,
};

/** Shows archives of watched directories and images to fetch. @throws CallError */
export async function offline({ api }: Connection, flags: OfflineFlags): Promise<void> {
  const status = await api.call(IMAGES, flags.scan ? "Scan" : "Status", {});
  const rows = [...status.files.map(rowOfFile), ...status.prefetched.map(rowOfImage)];
  await printList(rows, listing, flags);
  if (rows.length > 0 || flags.quiet || (flags.format ?? "table") !== "table") return;
  const { directories } = status;
  if (directories.length === 0) note("no directory of [images] directories is there, and [images] prefetch is empty\n");
  else note(`nothing in ${directories.map((path) => shown(path ?? "")).join(", ")}\n`);
}

type Status = ResponseOf<typeof IMAGES, "Status">;

function rowOfFile({ path, state, images, error }: Status["files"][number]): Row {
  return { source: path ?? "", state: state ?? "", images: [...(images ?? [])], note: error ?? "" };
}

function rowOfImage(image: Status["prefetched"][number]): Row {
  const { reference, state, error } = image;
  const [attempts, retryMs, done, total] = [image.attempts, image.retryMs, image.done, image.total].map(Number);
  const parts: string[] = [];
  if (state === "fetching" && total) parts.push(`${decimalSize(done ?? 0)} of ${decimalSize(total)}`);
  if (state === "waiting" && attempts) parts.push(`attempt ${attempts + 1} in ${duration(retryMs ?? 0)}`);
  if (error) parts.push(error);
  return { source: reference ?? "", state: state ?? "", images: [], note: parts.join(": ") };
}
