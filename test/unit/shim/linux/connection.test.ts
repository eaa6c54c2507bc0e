import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { connect as connectRaw, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, Code, Server, unary } from "../../../../proto/ttrpc/index.ts";
import { listen } from "../../../../shim/linux/connection.ts";
import { connect } from "../../../../shim/linux/dial.ts";
import { rejection } from "../../../lib/outcome.ts";
import { ownDescriptors } from "../../../lib/process.ts";
import { waitFor } from "../../../lib/wait.ts";

/** Bytes as messages. */
const bytes = {
  encode: (message: Uint8Array) => ({ finish: () => message }),
  decode: (wire: Uint8Array) => wire.slice(),
};
const dir = mkdtempSync(join(tmpdir(), "berth-connection-"));
chmodSync(dir, 0o755);
let path = "";
let count = 0;
let server: Server;
let stop: () => void;
const sockets = () => [...ownDescriptors().values()].filter((target) => target.startsWith("socket:")).length;

beforeEach(() => {
  path = join(dir, `s${++count}`);
  server = new Server();
  server.register("test", {
    echo: unary(bytes, bytes, (request) => request),
    /** As many bytes as the request says. */
    fill: unary(bytes, bytes, (request) => {
      const size = new DataView(request.buffer, request.byteOffset).getUint32(0);
      return Uint8Array.from({ length: size }, (_, index) => index & 0xff);
    }),
  });
  stop = listen(path, (connection) => connection.serveBy(server));
});
afterEach(async () => {
  stop();
  await server.shutdown({ graceMs: 0 });
});
afterAll(() => rmSync(dir, { recursive: true }));

const call = (client: Client, method: string, message: Uint8Array) =>
  client.call("test", method, bytes, bytes, message);
const size = (length: number) => {
  const message = new Uint8Array(4);
  new DataView(message.buffer).setUint32(0, length);
  return message;
};

describe("calls", () => {
  test("of every size, both ways, many at a time", async () => {
    const client = await connect(path, 1_000);
    const sizes = [0, 1, 1000, 65_535, 65_536, 300_000, 4_000_000];
    const answers = await Promise.all(sizes.map((length) => call(client, "echo", new Uint8Array(length).fill(7))));
    expect(answers.map((answer) => answer.length)).toEqual(sizes);
    const filled = await Promise.all(Array.from({ length: 20 }, () => call(client, "fill", size(500_000))));
    for (const answer of filled) expect(answer.every((byte, index) => byte === (index & 0xff))).toBe(true);
    client.close();
  });

  test("of many connections", async () => {
    const clients = await Promise.all(Array.from({ length: 50 }, () => connect(path, 5_000)));
    expect(server.connections).toBe(50);
    await Promise.all(clients.map((client, index) => call(client, "echo", new Uint8Array(index))));
    for (const client of clients) client.close();
    await waitFor("the server to see it", () => server.connections === 0);
  });

  test("to a client of Bun's own sockets", async () => {
    const client = await Client.connect({ unix: path });
    expect(await call(client, "fill", size(1_000_000))).toHaveLength(1_000_000);
    client.close();
  });
});

describe("a client that does not read", () => {
  /** Asks for much, as often as told, and reads nothing. */
  async function stuck(requests = 1): Promise<Socket> {
    const socket = connectRaw(path);
    await new Promise((resolve) => socket.once("connect", resolve));
    socket.pause();
    socket.on("error", () => {});
    // A frame of the request { service: "test", method: "fill", payload: 3,000,000 as four bytes }.
    const request = Buffer.concat([Buffer.from("\n\x04test\x12\x04fill\x1a\x04", "latin1"), size(3_000_000)]);
    for (let id = 1; id < 2 * requests; id += 2) {
      const header = Buffer.alloc(10);
      header.writeUInt32BE(request.length, 0);
      header.writeUInt32BE(id, 4);
      header.writeUInt8(1, 8);
      socket.write(Buffer.concat([header, request]));
    }
    await Bun.sleep(100);
    return socket;
  }

  test("finds everything when it reads at last, while others are served", async () => {
    const socket = await stuck();
    const other = await connect(path, 1_000);
    expect(await call(other, "echo", new Uint8Array(10))).toHaveLength(10);
    other.close();
    let received = 0;
    socket.on("data", (chunk) => {
      received += chunk.length;
    });
    socket.resume();
    await waitFor("all of it", () => received >= 3_000_000);
    socket.destroy();
  });

  test("sees the end when the server goes", async () => {
    const socket = await stuck();
    let ended = false;
    socket.on("close", () => {
      ended = true;
    });
    await server.shutdown({ graceMs: 0 });
    socket.resume();
    await waitFor("the end", () => ended, { timeout: 2_000 });
  });

  test("is given up past the bound, and nothing of it stays, though it neither reads nor goes", async () => {
    stop();
    await server.shutdown({ graceMs: 0 });
    server = new Server({ maxQueuedBytes: 1 << 20 });
    server.register("test", { fill: unary(bytes, bytes, () => new Uint8Array(3_000_000)) });
    stop = listen(path, (connection) => connection.serveBy(server));
    const before = sockets();
    const socket = await stuck(5);
    await waitFor("the server to let go", () => server.connections === 0);
    // Ours, the client's, is still there.
    await waitFor("the descriptors to be closed", () => sockets() <= before + 1, { timeout: 2_000 });
    socket.destroy();
  });

  test("leaves no descriptor when it goes, nor when the server does", async () => {
    const before = sockets();
    for (const who of ["client", "server"]) {
      const socket = await stuck();
      if (who === "client") socket.destroy();
      else await server.shutdown({ graceMs: 0 });
      await waitFor("the server to let go", () => server.connections === 0);
      socket.destroy();
    }
    // The listener's own is gone too, once it is told.
    stop();
    await waitFor("the descriptors to be closed", () => sockets() <= before - 1, { timeout: 2_000 });
  });
});

describe("connecting", () => {
  test("to nobody is Unavailable, and leaves no descriptor", async () => {
    const before = sockets();
    const unavailable = expect.objectContaining({ code: Code.Unavailable });
    expect(await rejection(connect(join(dir, "missing"), 1_000))).toEqual(unavailable);
    expect(await rejection(connect(join(dir, "x".repeat(200)), 1_000))).toEqual(unavailable);
    await waitFor("the descriptors to be closed", () => sockets() === before);
  });

  test("is noticed at both ends when it is over", async () => {
    const client = await connect(path, 1_000);
    await call(client, "echo", new Uint8Array(1));
    expect(client.isOpen).toBe(true);
    await server.shutdown({ graceMs: 0 });
    await client.closed;
    expect(client.isOpen).toBe(false);
    expect(await rejection(call(client, "echo", new Uint8Array(1)))).toEqual(
      expect.objectContaining({ code: Code.Unavailable }),
    );
  });

  test("200 times leaves nothing", async () => {
    const once = async () => {
      const client = await connect(path, 1_000);
      await call(client, "echo", new Uint8Array(10));
      client.close();
    };
    await once();
    await waitFor("the first to be gone", () => server.connections === 0);
    const before = sockets();
    for (let round = 0; round < 200; round++) await once();
    await waitFor("the server to see it", () => server.connections === 0);
    await waitFor("the descriptors to be closed", () => sockets() <= before);
  });

  test("SK-6 another user is not served, even where the file would let it", async () => {
    if (process.getuid?.() !== 0) throw new Error("this test needs root");
    chmodSync(path, 0o666);
    const script = `
import socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(3)
sock.connect(sys.argv[1])
try: print("end" if sock.recv(1) == b"" else "served")
except ConnectionResetError: print("end")`;
    const argv = [
      "setpriv",
      "--reuid=65534",
      "--regid=65534",
      "--clear-groups",
      "/usr/bin/python3",
      "-c",
      script,
      path,
    ];
    const child = Bun.spawn(argv, { stdout: "pipe" });
    expect((await child.stdout.text()).trim()).toBe("end");
    expect(server.connections).toBe(0);
  });
});
