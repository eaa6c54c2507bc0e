/** All sections, in the order of a report. */

import type { Section } from "../check.ts";
import { invocation } from "./invocation.ts";

export const sections: readonly Section[] = [invocation];
