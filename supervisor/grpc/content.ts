/** The Content service (plugins/services/content/contentserver). */

import {
  alreadyExists,
  ContainerdError,
  invalidArgument,
  messageOf,
  outOfRange,
  unknown,
} from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import { CHUNK } from "../content/disk.ts";
import type { BlobInfo } from "../content/records.ts";
import type { ContentStore } from "../content/store.ts";
import type { ContentWriter, WriterStatus } from "../content/writer.ts";
import { digestProblem } from "../store/digest.ts";
import { quote } from "../store/quote.ts";
import { timestampOf } from "../store/time.ts";
import type { CallContext } from "./context.ts";
import { untilAborted } from "./requests.ts";
import { EncodedMessage, type Handlers } from "./server.ts";

const { content } = containerd.services;
type Info = containerd.services.content.v1.Info.$Properties;
type Status = containerd.services.content.v1.Status.$Properties;
type WriteRequest = ReturnType<typeof content.v1.WriteContentRequest.decode>;
type WriteResponse = containerd.services.content.v1.WriteContentResponse.$Properties;

/** Infos in one message of a list. */
const LISTED = 100;

/** Serves a content store. */
export function contentService(store: ContentStore): Handlers<"containerd.services.content.v1.Content"> {
  return {
    async Info({ digest }, { namespace }) {
      checkDigest(digest);
      return { info: infoOf(await store.info(namespace, digest)) };
    },

    async Update({ info, updateMask }, { namespace }) {
      const digest = info?.digest ?? "";
      checkDigest(digest);
      return { info: infoOf(await store.update(namespace, digest, info?.labels ?? {}, updateMask?.paths ?? [])) };
    },

    async *List({ filters }, { namespace }) {
      let block: Info[] = [];
      for (const info of store.list(namespace, filters)) {
        block.push(infoOf(info));
        if (block.length < LISTED) continue;
        yield { info: block };
        block = [];
      }
      if (block.length > 0) yield { info: block };
    },

    async Delete({ digest }, { namespace, lease }) {
      const problem = digestProblem(digest);
      if (problem !== undefined) throw invalidArgument(problem);
      await store.delete(namespace, digest, lease);
      return {};
    },

    Read: (request, context) => read(store, request, context),

    async Status({ ref }, { namespace }) {
      try {
        return { status: statusOf(await store.status(namespace, ref)) };
      } catch (error) {
        if (!(error instanceof ContainerdError)) throw error;
        throw new ContainerdError(error.code, `could not get status for ref ${quote(ref)}: ${messageOf(error)}`);
      }
    },

    async ListStatuses({ filters }, { namespace }) {
      return { statuses: (await store.statuses(namespace, filters)).map(statusOf) };
    },

    Write: (requests, context) => write(store, requests, context),

    async Abort({ ref }, { namespace, lease }) {
      await store.abort(namespace, ref, lease);
      return {};
    },
  };
}

function checkDigest(digest: string): void {
  if (digestProblem(digest) !== undefined) throw invalidArgument(`${quote(digest)} failed validation`);
}

async function* read(
  store: ContentStore,
  request: { readonly digest: string; readonly offset: unknown; readonly size: unknown },
  { namespace, signal }: CallContext,
): AsyncGenerator<EncodedMessage> {
  const { digest } = request;
  const problem = digestProblem(digest);
  if (problem !== undefined) throw invalidArgument(`${digest}: ${problem}`);
  const reader = await store.readerAt(namespace, digest);
  try {
    const start = Math.max(0, Number(request.offset));
    if (start > reader.size) throw outOfRange(`read past object length ${reader.size} bytes`);
    const asked = Number(request.size);
    const end = asked <= 0 || start + asked > reader.size ? reader.size : start + asked;
    const next = async (at: number): Promise<EncodedMessage> => {
      const length = Math.min(CHUNK, end - at);
      // Offsets in answers count from the place where the read began, as containerd's do.
      const message = new DataMessage(at - start, length);
      if ((await reader.readInto(message.data, at)) < length) {
        throw new ContainerdError(Code.DataLoss, `content ${digest} ended early on disk: fetch it again: data loss`);
      }
      return message;
    };
    // The next chunk is read while the one before is sent.
    let pending = start < end ? next(start) : undefined;
    for (let at = start; pending !== undefined && !signal.aborted; ) {
      const message = await pending;
      at += CHUNK;
      pending = at < end ? next(at) : undefined;
      pending?.catch(() => undefined);
      yield message;
    }
    await pending?.catch(() => undefined);
  } finally {
    await reader.close();
  }
}

/** A ReadContentResponse whose data is read into its place in the encoded message. */
class DataMessage extends EncodedMessage {
  readonly data: Uint8Array;

  constructor(offset: number, length: number) {
    const start = [...(offset > 0 ? [0x08, ...varint(offset)] : []), 0x12, ...varint(length)];
    const bytes = new Uint8Array(start.length + length);
    bytes.set(start);
    super(bytes);
    this.data = bytes.subarray(start.length);
  }
}

/** A number as protobuf encodes it. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
  return bytes;
}

async function* write(
  store: ContentStore,
  requests: AsyncIterable<WriteRequest>,
  { namespace, lease, signal }: CallContext,
): AsyncGenerator<WriteResponse> {
  const { STAT, WRITE, COMMIT } = content.v1.WriteAction;
  let writer: ContentWriter | undefined;
  let ref = "";
  let total = 0;
  let expected = "";
  // What was told once is told again with every answer, and the last answer twice, as containerd does.
  let answer: WriteResponse = {};
  try {
    for await (const request of untilAborted(requests, signal)) {
      if (writer === undefined) {
        ref = request.ref;
        if (ref === "") throw invalidArgument("first message must have a reference");
        total = Number(request.total);
        expected = request.expected;
        writer = await store.writer(namespace, { ref, total, expected, lease });
      }
      answer = { ...answer, action: request.action, offset: writer.offset };
      if (request.expected !== "") {
        expected = request.expected;
        if (await isThere(store, namespace, expected)) {
          await writer.close();
          await store.abort(namespace, ref, lease).catch(() => undefined);
          throw alreadyExists(`blob with expected digest ${expected} exists`);
        }
      }
      if (Number(request.total) > 0) total = Number(request.total);
      if (request.action === STAT) {
        const { startedAt, updatedAt } = writer.status();
        answer = {
          ...answer,
          digest: writer.digest(),
          startedAt: timestampOf(startedAt),
          updatedAt: timestampOf(updatedAt),
          total,
        };
      } else if (request.action === WRITE || request.action === COMMIT) {
        await append(writer, request);
        if (request.action === COMMIT) await writer.commit({ size: total, expected, labels: request.labels });
        answer = { ...answer, offset: writer.offset, digest: writer.digest() };
      }
      yield answer;
      if (request.action === COMMIT) break;
    }
    if (writer === undefined) throw unknown("EOF");
    if (!signal.aborted) yield answer;
  } finally {
    await writer?.close();
  }
}

/** True when the namespace has a blob that can be read. */
async function isThere(store: ContentStore, namespace: string, digest: string): Promise<boolean> {
  try {
    await store.info(namespace, digest);
    return true;
  } catch {
    return false;
  }
}

/** Writes the data of a request at its offset. */
async function append(writer: ContentWriter, request: WriteRequest): Promise<void> {
  const offset = Number(request.offset);
  if (offset > 0 && offset !== writer.offset) {
    throw outOfRange(`write @${offset} must occur at current offset ${writer.offset}`);
  }
  if (offset === 0 && writer.offset > 0) await writer.truncate(0);
  await writer.write(request.data);
}

function infoOf(info: BlobInfo): Info {
  return {
    digest: info.digest,
    size: info.size,
    createdAt: timestampOf(info.createdAt),
    updatedAt: timestampOf(info.updatedAt),
    labels: info.labels,
  };
}

function statusOf(status: WriterStatus): Status {
  return {
    startedAt: timestampOf(status.startedAt),
    updatedAt: timestampOf(status.updatedAt),
    ref: status.ref,
    offset: status.offset,
    total: status.total,
    expected: status.expected,
  };
}
