/**
 * How a serving shim is told to keep its memory small and to sleep while idle, by whoever starts it: no compiler but the
 * interpreter (bun:ffi wants the JIT itself left on), one collector thread, no timer of the collector. Under 300 calls
 * this saves 2.4 of 6.1 MB, and costs some microseconds a call. The environment may say otherwise; none of it reaches
 * runc.
 */
export const shimEnvironment = {
  BUN_GC_TIMER_DISABLE: "1",
  BUN_JSC_useBaselineJIT: "0",
  BUN_JSC_forceMiniVMMode: "1",
  BUN_JSC_useConcurrentGC: "0",
  BUN_JSC_numberOfGCMarkers: "1",
  // Bytes between collections: a heap that grows further before the first one stays in pieces.
  BUN_JSC_gcMaxHeapSize: "1500000",
  // Freed pages go back at once, and not by a thread that wakes twice a minute to look for them.
  MIMALLOC_PURGE_DELAY: "0",
} as const;
