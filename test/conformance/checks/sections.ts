/** All sections, in the order of a report. */

import type { Section } from "../check.ts";
import { invocation } from "./invocation.ts";
import { execStatesSection, initStatesSection } from "./states.ts";
import { wire } from "./wire.ts";

export const sections: readonly Section[] = [invocation, wire, initStatesSection, execStatesSection];
