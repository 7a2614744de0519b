/** @file The shortest way from a prompt to a file. Run with: npx tsx examples/01-text-to-video.ts */
import { loadPipeline, saveVideo, textToVideo } from "cogvideox";

const pipeline = await loadPipeline();
const events = textToVideo(pipeline, { prompt: "a red circle moves right", seed: 7 });
await saveVideo(events, "out.mp4");
await pipeline.close();
