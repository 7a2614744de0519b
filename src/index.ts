/** @file The public names of the package. */
export { CancelledError, ConfigError, SessionError, ShapeError, WeightsError } from "./errors.ts";
export type { Fit } from "./media/fit.ts";
export type { ClipSource, PictureSource } from "./media/pictures.ts";
export type { RgbImage } from "./media/read.ts";
export { readRecipe } from "./media/recipe.ts";
export { createVideoWriter, type VideoWriter, type VideoWriterOptions } from "./media/write.ts";
export type { Checkpoint } from "./pipeline/checkpoint.ts";
export type { ClipRequest } from "./pipeline/clip-size.ts";
export { type ControlToVideoOptions, controlToVideo } from "./pipeline/control-to-video.ts";
export type { PipelineEvent, SegmentEvent } from "./pipeline/events.ts";
export type { GenerateOptions } from "./pipeline/generate-options.ts";
export { type ImageScaling, type ImageToVideoOptions, imageToVideo } from "./pipeline/image-to-video.ts";
export { loadPipeline, type Pipeline } from "./pipeline/pipeline.ts";
export { type SaveOptions, saveVideo } from "./pipeline/save-video.ts";
export { type TextToVideoOptions, textToVideo } from "./pipeline/text-to-video.ts";
export { type VideoToVideoOptions, videoToVideo } from "./pipeline/video-to-video.ts";
export type { EngineOptions } from "./runtime/engine.ts";
export type { HostTensor } from "./runtime/protocol.ts";
