/** All faults, section by section as the kit has them. */

import type { Fault } from "../fault.ts";
import { cellFaults } from "./cells.ts";
import { deleteFaults, groupFaults } from "./delete.ts";
import { eventFaults } from "./events.ts";
import { exitFaults } from "./exits.ts";
import { hardshipFaults } from "./hardship.ts";
import { lifeFaults } from "./life.ts";
import { mountFaults } from "./mounts.ts";
import { checkpointFaults, restartFaults, sandboxFaults } from "./restart.ts";
import { startFaults } from "./start.ts";
import { stateFaults } from "./states.ts";
import { stdioFaults } from "./stdio.ts";
import { wireFaults } from "./wire.ts";

/** Nothing but bytes passed on. */
export const plain: Fault = { name: "none, bytes passed on", by: [] };

/** All is taken apart and put together again, and nothing is changed. */
export const none: Fault = {
  name: "none, messages passed on",
  by: [],
  rpc: (_, next) => next(),
  event: (event, deliver) => deliver(event),
};

export const allFaults: readonly Fault[] = [
  ...startFaults,
  ...wireFaults,
  ...lifeFaults,
  ...stateFaults,
  ...cellFaults,
  ...eventFaults,
  ...exitFaults,
  ...stdioFaults,
  ...mountFaults,
  ...groupFaults,
  ...sandboxFaults,
  ...deleteFaults,
  ...restartFaults,
  ...checkpointFaults,
  ...hardshipFaults,
];

/** @throws Error when no fault has the name */
export function findFault(name: string): Fault {
  const found = [plain, none, ...allFaults].find((fault) => fault.name === name);
  if (found === undefined) throw new Error(`no fault is called ${JSON.stringify(name)}`);
  return found;
}
