/** All sections, in the order of a report. */

import type { Section } from "../check.ts";
import { checkpoint } from "./checkpoint.ts";
import { deleteCall } from "./delete.ts";
import { events } from "./events.ts";
import { exits } from "./exits.ts";
import { grouping } from "./grouping.ts";
import { hardship } from "./hardship.ts";
import { invocation } from "./invocation.ts";
import { leaks } from "./leaks.ts";
import { lifecycle } from "./lifecycle.ts";
import { mounts } from "./mounts.ts";
import { restart } from "./restart.ts";
import { sandboxes } from "./sandbox.ts";
import { execStatesSection, initStatesSection } from "./states.ts";
import { stats } from "./stats.ts";
import { stdio } from "./stdio.ts";
import { wire } from "./wire.ts";

export const sections: readonly Section[] = [
  invocation,
  wire,
  lifecycle,
  initStatesSection,
  execStatesSection,
  events,
  exits,
  stdio,
  mounts,
  stats,
  grouping,
  sandboxes,
  deleteCall,
  restart,
  checkpoint,
  hardship,
  leaks,
];
