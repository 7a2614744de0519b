/** @file Whether other processes of this machine live. */

/** Whether a process lives; one that may not be signalled is somebody else's, and lives. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
