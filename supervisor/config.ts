/** How a daemon is set up. */

export interface Config {
  /** What must survive a reboot: blobs, snapshots, the database. */
  readonly root: string;
  /** What need not: bundles, sockets. */
  readonly state: string;
  /** Path of the gRPC socket. */
  readonly address: string;
}
