/**
 * Takes out of protobufjs, in a compiled program, what our messages never use. For builds: in what runs from source
 * nothing is replaced. test/fuzz/codec.test.ts holds messages of both ways against pbjs' static code.
 */

import { dirname, join } from "node:path";
import type { BunPlugin } from "bun";

/** The folder of protobufjs' sources. */
const source = join(dirname(Bun.resolveSync("protobufjs/minimal.js", import.meta.dir)), "src");

/** Files of protobufjs to those in slim/ that stand in for them, where they import what lies about the former. */
const replaced = new Map([
  [join(source, "index-minimal.js"), "index-minimal.cjs"],
  [join(source, "util/minimal.js"), "util-minimal.cjs"],
]);

/**
 * protobufjs takes the package `long` for 64-bit numbers when it finds it. That package starts a WebAssembly instance as
 * it loads: 280 kB and half a millisecond in every shim. Without it protobufjs reads 64-bit numbers as JavaScript's own,
 * and writes `{ low, high }` all the same.
 */
export const withoutLong: BunPlugin = {
  name: "without-long",
  setup(build) {
    build.onResolve({ filter: /^long$/ }, () => ({ path: "long", namespace: "absent" }));
    build.onLoad({ filter: /.*/, namespace: "absent" }, () => ({ contents: "module.exports = null;", loader: "js" }));
  },
};

/**
 * @grpc/grpc-js reads .proto files at run time for two services that we do not serve, by a package that brings a protobufjs
 * of its own. It loads it when those are asked for, which never happens here.
 */
export const withoutProtoLoader: BunPlugin = {
  name: "without-proto-loader",
  setup(build) {
    build.onResolve({ filter: /^@grpc\/proto-loader$/ }, () => ({ path: "proto-loader", namespace: "not-loaded" }));
    build.onLoad({ filter: /.*/, namespace: "not-loaded" }, () => ({ contents: "module.exports = {};", loader: "js" }));
  },
};

/**
 * Replaces two files of protobufjs 8.8.1, which saves a process that loads it 190 kB and 0.25 ms: each kind of object
 * that is made for the first time takes pages of its own. Needs {@link withoutLong}.
 */
export const slimProtobufjs: BunPlugin = {
  name: "slim-protobufjs",
  setup(build) {
    build.onLoad(
      { filter: /[\\/]protobufjs[\\/]src[\\/](?:index-minimal|util[\\/]minimal)\.js$/ },
      async ({ path }) => {
        const file = replaced.get(path);
        // The file of another copy of protobufjs would not fit.
        if (file === undefined) throw new Error(`${path} is not in ${source}`);
        return { contents: await Bun.file(join(import.meta.dir, "slim", file)).text(), loader: "js" };
      },
    );
  },
};
