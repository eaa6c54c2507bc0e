/** Asks a client for credentials, over a stream that it has opened for that. */

import { ContainerdError } from "../../proto/errdefs.ts";
import { containerd } from "../../proto/gen/supervisor.js";
import { Code } from "../../proto/ttrpc/status.ts";
import { typeName } from "../../proto/typeurl.ts";
import type { ByteStream } from "./stream/bytes.ts";

const { AuthRequest, AuthResponse } = containerd.types.transfer;
/** Kinds of answers. */
const AuthType = { CREDENTIALS: 1, REFRESH: 2, HEADER: 3 } as const;
const PREFIX = "containerd.types.transfer.";

/** Who somebody is to a host. Never in logs and errors. */
export interface Credentials {
  /** Empty when `secret` is a refresh token. */
  readonly username: string;
  readonly secret: string;
  /** The whole value of an Authorization header. */
  readonly header: string;
}

/** Credentials from a client; one question at a time. */
export class AuthStream {
  readonly #stream: ByteStream;
  readonly #reference: string;
  #last: Promise<unknown> = Promise.resolve();

  constructor(stream: ByteStream, reference: string) {
    this.#stream = stream;
    this.#reference = reference;
  }

  /**
   * @param host with port
   * @param challenges what the host asked for
   * @returns undefined when the client has none
   */
  get(host: string, challenges: readonly string[]): Promise<Credentials | undefined> {
    const answer = this.#last.then(() => this.#ask(host, challenges));
    this.#last = answer.catch(() => undefined);
    return answer;
  }

  async #ask(host: string, challenges: readonly string[]): Promise<Credentials | undefined> {
    const request = { host, reference: this.#reference, wwwauthenticate: [...challenges] };
    await this.#stream.send({ type_url: `${PREFIX}AuthRequest`, value: AuthRequest.encode(request).finish() });
    const message = await this.#stream.receive();
    if (message === undefined) throw new ContainerdError(Code.Unknown, "EOF");
    if (typeName(message) !== `${PREFIX}AuthResponse`) {
      throw new ContainerdError(
        Code.InvalidArgument,
        "the answer to a request for credentials has another type: invalid argument",
      );
    }
    const { authType, username, secret } = AuthResponse.decode(message.value ?? new Uint8Array());
    if (authType === AuthType.CREDENTIALS) return { username, secret, header: "" };
    if (authType === AuthType.REFRESH) return secret === "" ? undefined : { username: "", secret, header: "" };
    if (authType === AuthType.HEADER) return { username: "", secret: "", header: secret };
    return undefined;
  }
}
