import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    setupFiles: ["test/helpers/matchers.ts"],
    testTimeout: 60_000,
    maxWorkers: 2,
  },
});
