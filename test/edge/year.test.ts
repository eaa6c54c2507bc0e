/** A year of an edge node, whole: `npm run test:edge`. */

import { play } from "./play.ts";
import { year } from "./year.ts";

play(year);
