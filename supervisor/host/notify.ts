/** Telling systemd how the daemon is (sd_notify(3)): nothing without NOTIFY_SOCKET. */

import { sendDatagram } from "../../shim/linux/index.ts";
import type { Log } from "../log/log.ts";

/** What systemd is told through. */
export class Notifier {
  readonly #socket: string | undefined;
  readonly #log: Log;
  readonly #watchdogMs: number;
  #timer: NodeJS.Timeout | undefined;

  /** Takes its variables out of the environment, so that children do not speak for us. */
  constructor(log: Log, env: Record<string, string | undefined> = process.env) {
    this.#log = log;
    const socket = env["NOTIFY_SOCKET"] ?? "";
    this.#socket = /^[/@]/.test(socket) ? socket : undefined;
    const isOurs = !env["WATCHDOG_PID"] || env["WATCHDOG_PID"] === String(process.pid);
    const us = Number(env["WATCHDOG_USEC"]);
    this.#watchdogMs = isOurs && us > 0 ? us / 1000 : 0;
    for (const name of ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"]) delete env[name];
  }

  /** Clients can connect. From now on systemd's watchdog is fed, if it asked for that, for as long as the event loop turns. */
  ready(): void {
    this.#send("READY=1");
    if (this.#socket === undefined || this.#watchdogMs === 0) return;
    this.#timer = setInterval(() => this.#send("WATCHDOG=1"), Math.max(100, this.#watchdogMs / 2));
    this.#timer.unref();
  }

  /** What `systemctl status` shows. */
  status(text: string): void {
    this.#send(`STATUS=${text.replace(/\n/g, " ")}`);
  }

  stopping(): void {
    clearInterval(this.#timer);
    this.#send("STOPPING=1");
  }

  #send(text: string): void {
    if (this.#socket === undefined) return;
    try {
      sendDatagram(this.#socket, text);
    } catch (error) {
      this.#log.warn("cannot notify systemd", { error });
    }
  }
}
