/** Topics of the events of a task, and the message that each carries (contract 1.9). */

/** Topic to message name without its package `containerd.events`. */
export const topics = {
  "/tasks/create": "TaskCreate",
  "/tasks/start": "TaskStart",
  "/tasks/exit": "TaskExit",
  "/tasks/delete": "TaskDelete",
  "/tasks/oom": "TaskOOM",
  "/tasks/exec-added": "TaskExecAdded",
  "/tasks/exec-started": "TaskExecStarted",
  "/tasks/paused": "TaskPaused",
  "/tasks/resumed": "TaskResumed",
  "/tasks/checkpointed": "TaskCheckpointed",
} as const;

export type Topic = keyof typeof topics;
