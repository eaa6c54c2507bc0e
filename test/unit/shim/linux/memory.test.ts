import { expect, test } from "bun:test";
import { cleanFileMappings, dropPages, programMappings } from "../../../../shim/linux/memory.ts";

const mapping = (line: string, anonymous: number) => `${line}
Size:               4 kB
Rss:                4 kB
Pss_Anon:           0 kB
Anonymous:          ${anonymous} kB
LazyFree:           0 kB
VmFlags: rd mr mw me`;

test("only pages that come back from a file as they are may be given up", () => {
  const smaps = [
    mapping("00400000-00401000 r--p 00000000 fe:00 1234                               /usr/bin/berth", 0),
    mapping("00401000-00404000 r-xp 00001000 fe:00 1234                               /usr/bin/with (odd) name", 0),
    mapping("00404000-00405000 r--p 00001000 fe:00 1234                               /relocated", 4),
    mapping("00405000-00406000 rw-p 00001000 fe:00 1234                               /written", 0),
    mapping("00406000-00407000 r--p 00000000 00:00 0 ", 0),
    mapping("00407000-00408000 ---p 00000000 fe:00 1234                               /guard", 0),
    mapping("7fff00000000-7fff00001000 r-xp 00000000 00:00 0                          [vdso]", 0),
    mapping("7ffff0000000-7ffff0002000 r--s 00000000 fe:00 77                         /shared", 0),
  ].join("\n");
  expect(cleanFileMappings(smaps)).toEqual([
    { start: 0x400000, length: 0x1000 },
    { start: 0x401000, length: 0x3000 },
    { start: 0x7ffff0000000, length: 0x2000 },
  ]);
  expect(cleanFileMappings("")).toEqual([]);
  expect(cleanFileMappings("00400000-00401000 r--p 00000000 fe:00 1234 /cut off")).toEqual([]);
});

test("a process that has given them up goes on", () => {
  for (let round = 0; round < 20; round++) {
    dropPages(programMappings());
    expect(JSON.parse(JSON.stringify({ round }))).toEqual({ round });
  }
});
