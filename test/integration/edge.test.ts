/** Weeks of an edge node: the part of test/edge that is played with every run. */

import { play } from "../edge/play.ts";
import { shortYear } from "../edge/year.ts";

play(shortYear);
