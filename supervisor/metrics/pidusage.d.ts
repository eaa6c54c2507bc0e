declare module "pidusage" {
  /** What a process has used. */
  interface Status {
    /** Resident memory in bytes. */
    readonly memory: number;
    /** CPU time of user and system in milliseconds. */
    readonly ctime: number;
  }
  function pidusage(pid: number, options?: { readonly maxage?: number }): Promise<Status>;
  export = pidusage;
}
