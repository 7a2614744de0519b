/** @file The shortest way from a prompt to a file. Run with: npx tsx examples/01-text-to-video.ts */
import { loadPipeline, saveVideo, textToVideo } from "cogvideox";

const pipeline = await loadPipeline("test/fixtures/checkpoints/t2v-rope");
const events = textToVideo(pipeline, {
  prompt: "A red circle moves left, on a plain background.",
  steps: 4,
  seed: 7,
});
await saveVideo(events, "out.mp4");
await pipeline.close();
