/** A client of the Transfer and Streaming services, as ctr 2.x is one. */

import { Client, type ClientDuplexStream, credentials, Metadata } from "@grpc/grpc-js";
import { containerd, google } from "../../proto/gen/supervisor.js";

const types = containerd.types.transfer;
const PREFIX = "containerd.types.transfer.";
const WINDOW = 64 << 10;

type Message = google.protobuf.Any.$Properties;
type Wire = ClientDuplexStream<Message, ReturnType<typeof google.protobuf.Any.decode>>;

/** One step of progress, as it came. */
export type Step = ReturnType<typeof types.Progress.decode>;

/** What a transfer gave. */
export interface Outcome {
  readonly steps: readonly Step[];
  /** The gRPC code; 0 when it went well. */
  readonly code: number;
  readonly message: string;
}

/** Credentials for a host; undefined for none. */
export type Answer = { username: string; secret: string } | undefined;

/** Ends of transfers, encoded. */
export const ends = {
  store: (store: containerd.types.transfer.ImageStore.$Properties): Message => ({
    type_url: `${PREFIX}ImageStore`,
    value: types.ImageStore.encode(store).finish(),
  }),
  registry: (reference: string, resolver: containerd.types.transfer.RegistryResolver.$Properties = {}): Message => ({
    type_url: `${PREFIX}OCIRegistry`,
    value: types.OCIRegistry.encode({ reference, resolver: { defaultScheme: "http", ...resolver } }).finish(),
  }),
  importStream: (stream: string, more: containerd.types.transfer.ImageImportStream.$Properties = {}): Message => ({
    type_url: `${PREFIX}ImageImportStream`,
    value: types.ImageImportStream.encode({ stream, ...more }).finish(),
  }),
  exportStream: (stream: string, more: containerd.types.transfer.ImageExportStream.$Properties = {}): Message => ({
    type_url: `${PREFIX}ImageExportStream`,
    value: types.ImageExportStream.encode({ stream, ...more }).finish(),
  }),
};

/** A connection to one daemon, in one namespace. */
export class TransferClient {
  readonly #client: Client;
  readonly #metadata = new Metadata();
  #count = 0;

  constructor(address: string, namespace: string) {
    this.#client = new Client(`unix://${address}`, credentials.createInsecure(), {
      "grpc.default_authority": "localhost",
    });
    this.#metadata.set("containerd-namespace", namespace);
  }

  close(): void {
    this.#client.close();
  }

  /** Opens a stream. @returns its id, and what goes over it */
  async stream(prefix: string): Promise<{ id: string; wire: Wire }> {
    const id = `${prefix}-${process.pid}-${++this.#count}`;
    const wire: Wire = this.#client.makeBidiStreamRequest(
      "/containerd.services.streaming.v1.Streaming/Stream",
      (message: Message) => Buffer.from(google.protobuf.Any.encode(message).finish()),
      (bytes: Buffer) => google.protobuf.Any.decode(bytes),
      this.#metadata,
    );
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    wire.once("data", () => resolve());
    wire.once("error", reject);
    const init = containerd.services.streaming.v1.StreamInit.encode({ id }).finish();
    wire.write({ type_url: "containerd.services.streaming.v1.StreamInit", value: init });
    await promise;
    wire.on("error", () => undefined);
    return { id, wire };
  }

  /** Makes a transfer, and waits for it. @param signal cancels the call */
  async transfer(source: Message, destination: Message, signal?: AbortSignal): Promise<Outcome> {
    const { id, wire } = await this.stream("progress");
    const steps: Step[] = [];
    const over = new Promise<void>((resolve) => wire.once("end", resolve).once("error", () => resolve()));
    wire.on("data", ({ value }: Message) => steps.push(types.Progress.decode(value ?? new Uint8Array())));
    const { TransferRequest } = containerd.services.transfer.v1;
    const outcome = await new Promise<{ code: number; message: string }>((resolve) => {
      const call = this.#client.makeUnaryRequest(
        "/containerd.services.transfer.v1.Transfer/Transfer",
        (request: Parameters<typeof TransferRequest.encode>[0]) =>
          Buffer.from(TransferRequest.encode(request).finish()),
        (bytes: Buffer) => bytes,
        { source, destination, options: { progressStream: id } },
        this.#metadata,
        (error) => resolve({ code: error?.code ?? 0, message: error?.details ?? "" }),
      );
      signal?.addEventListener("abort", () => call.cancel(), { once: true });
    });
    await Promise.race([over, Bun.sleep(2000)]);
    wire.cancel();
    return { steps, ...outcome };
  }

  /** Answers questions for credentials. @returns the id of the stream, and the hosts that were asked for */
  async credentials(answer: (host: string) => Answer): Promise<{ id: string; asked: string[] }> {
    const { id, wire } = await this.stream("creds");
    const asked: string[] = [];
    wire.on("data", ({ value }: Message) => {
      const { host } = types.AuthRequest.decode(value ?? new Uint8Array());
      asked.push(host);
      const given = answer(host);
      const response = given ? { authType: 1, ...given } : { authType: 0 };
      wire.write({ type_url: `${PREFIX}AuthResponse`, value: types.AuthResponse.encode(response).finish() });
    });
    return { id, asked };
  }

  /** Sends bytes, as the daemon lets us. @param stopAfter breaks the stream off after so many bytes */
  async sender(bytes: Uint8Array, stopAfter = Number.POSITIVE_INFINITY): Promise<string> {
    const { id, wire } = await this.stream("import");
    let window = 0;
    let offset = 0;
    wire.on("data", ({ value }: Message) => {
      window += types.WindowUpdate.decode(value ?? new Uint8Array()).update;
      while (window > 0 && offset < bytes.length) {
        if (offset >= stopAfter) {
          wire.cancel();
          return;
        }
        const data = bytes.subarray(offset, offset + Math.min(window, 32 << 10));
        wire.write({ type_url: `${PREFIX}Data`, value: types.Data.encode({ data }).finish() });
        offset += data.length;
        window -= data.length;
      }
      if (offset >= bytes.length) wire.end();
    });
    return id;
  }

  /** Takes bytes, by the windows of containerd's clients. @returns the id of the stream, and what came so far */
  async receiver(): Promise<{ id: string; bytes: () => Buffer }> {
    const { id, wire } = await this.stream("export");
    const parts: Uint8Array[] = [];
    let window = 0;
    const grant = (): void => {
      if (window >= WINDOW) return;
      window += WINDOW;
      wire.write({ type_url: `${PREFIX}WindowUpdate`, value: types.WindowUpdate.encode({ update: WINDOW }).finish() });
    };
    wire.on("data", ({ value }: Message) => {
      const { data } = types.Data.decode(value ?? new Uint8Array());
      parts.push(data.slice());
      window -= data.length;
      if (window < 0) throw new Error("the daemon sent more than the window");
      grant();
    });
    wire.on("end", () => wire.end());
    grant();
    return { id, bytes: () => Buffer.concat(parts) };
  }
}
