/** Images that may be evicted, and the order in which they go. */

import { isPinned } from "../image/pinned.ts";
import type { Database } from "../store/database.ts";
import { decodeLabels } from "../store/labels.ts";

/** An image that may go. */
export interface Candidate {
  readonly namespace: string;
  readonly name: string;
  readonly digest: string;
}

interface Row extends Candidate {
  readonly labels: string;
}

/**
 * Images that are not pinned, that no lease holds, and that no container is made of, under whatever name; the one whose
 * last use is longest ago first. A use is a pull, and a container's making and removal: the order of uses is on record
 * (image_uses), not their times, since clocks of such machines jump.
 */
export function candidates(database: Pick<Database, "all">): Candidate[] {
  return database
    .all<Row>(
      `SELECT i.namespace, i.name, i.digest, i.labels FROM images i
       LEFT JOIN image_uses u ON u.namespace = i.namespace AND u.name = i.name
       WHERE (i.namespace, i.digest) NOT IN (
         SELECT c.namespace, j.digest FROM containers c JOIN images j ON j.namespace = c.namespace AND j.name = c.image
         UNION SELECT c.namespace, c.image FROM containers c)
       AND NOT EXISTS (
         SELECT 1 FROM lease_resources l WHERE l.namespace = i.namespace AND l.type = 'images' AND l.id = i.name)
       ORDER BY IFNULL(u.used, 0), i.namespace, i.name`,
    )
    .filter(({ labels }) => !isPinned(decodeLabels(labels)))
    .map(({ namespace, name, digest }) => ({ namespace, name, digest }));
}

/** Bytes of the blobs of an image, as its labels refer to them. */
export function imageBytes(database: Pick<Database, "get">, { namespace, digest }: Candidate): number {
  const row = database.get<{ bytes: number | null }>(
    `WITH RECURSIVE parts (digest) AS (
       SELECT ?2
       UNION SELECT label.value FROM parts JOIN blobs b ON b.namespace = ?1 AND b.digest = parts.digest,
         json_each(b.labels) label WHERE label.key LIKE 'containerd.io/gc.ref.content%')
     SELECT SUM(size) AS bytes FROM parts JOIN blobs b ON b.namespace = ?1 AND b.digest = parts.digest`,
    namespace,
    digest,
  );
  return row?.bytes ?? 0;
}
