import { describe, expect, test } from "bun:test";
import { resolveUser } from "../../../../supervisor/container/user.ts";

const files = {
  passwd:
    "root:x:0:0:root:/root:/bin/sh\n# comment\nweb:x:33:34::/var/www:\nbroken\nodd:x:abc:1::/:\n42:x:7:8::/seven:\n",
  group: "root:x:0:\nwww:x:34:\nextra:x:50:web,other\nmore:x:51:web\n",
};

describe("a container's user", () => {
  test.each([
    ["", { uid: 0, gid: 0, additionalGids: [0], home: "/root" }],
    ["web", { uid: 33, gid: 34, additionalGids: [34, 50, 51], home: "/var/www" }],
    ["33", { uid: 33, gid: 34, additionalGids: [34, 50, 51], home: "/var/www" }],
    ["web:extra", { uid: 33, gid: 50, additionalGids: [50], home: "/var/www" }],
    ["web:0", { uid: 33, gid: 0, additionalGids: [0], home: "/var/www" }],
    ["1000", { uid: 1000, gid: 0, additionalGids: [0] }],
    ["1000:1001", { uid: 1000, gid: 1001, additionalGids: [1001] }],
    // A name of digits is a name first.
    ["42", { uid: 7, gid: 8, additionalGids: [8], home: "/seven" }],
  ] as [string, ReturnType<typeof resolveUser>][])("%j", (text, user) => {
    expect(resolveUser(text, files)).toEqual(user);
  });

  test("has the groups that are added", () => {
    expect(resolveUser("1000", files, ["extra", "77"]).additionalGids).toEqual([0, 50, 77]);
  });

  test("root is root without any file", () => {
    expect(resolveUser("", {})).toEqual({ uid: 0, gid: 0, additionalGids: [0] });
  });

  test.each([
    ["nobody", "its users are root, web"],
    ["web:nobodies", "no group"],
    ["a:b:c", "USER[:GROUP]"],
    ["4294967296", "uids and gids are"],
  ])("%j is refused", (text, words) => {
    expect(() => resolveUser(text, files)).toThrow(words);
  });
});
