/** @file The public names of the package. */
export { CancelledError, ConfigError, SessionError, ShapeError, WeightsError } from "./errors.ts";
export { readRecipe } from "./media/recipe.ts";
export { createVideoWriter, type VideoWriter, type VideoWriterOptions } from "./media/write.ts";
export type { Checkpoint } from "./pipeline/checkpoint.ts";
export type { ClipRequest } from "./pipeline/clip-size.ts";
export type { PipelineEvent, SegmentEvent } from "./pipeline/events.ts";
export { loadPipeline, type Pipeline } from "./pipeline/pipeline.ts";
export { type SaveOptions, saveVideo } from "./pipeline/save-video.ts";
export { textToVideo } from "./pipeline/text-to-video.ts";
export type { TextToVideoOptions } from "./pipeline/text-to-video-options.ts";
export type { EngineOptions } from "./runtime/engine.ts";
export type { HostTensor } from "./runtime/protocol.ts";
