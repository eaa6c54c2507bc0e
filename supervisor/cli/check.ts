/** `berth check`: sees whether everything that the daemon has on record is there. */

export async function check(_: readonly string[]): Promise<number> {
  await Bun.write(Bun.stderr, "berth check: not there yet\n");
  return 1;
}
