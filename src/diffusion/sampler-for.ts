/** @file Chooses the sampler that a scheduler configuration, or the user, asks for. */
import { ConfigError } from "../errors.ts";
import { ddimSampler } from "./ddim.ts";
import { dpmSampler } from "./dpm.ts";
import { genericDdimSampler } from "./generic-ddim.ts";
import { inverseDdimSampler } from "./inverse-ddim.ts";
import type { Sampler } from "./sampler.ts";
import { isCogVideoXClass, type SchedulerClass, type SchedulerConfig } from "./schedule.ts";

/** Names a user may give; "inverse" is for DDIM inversion. */
export type SamplerChoice = "ddim" | "dpm" | "inverse";

const samplers: { readonly [C in SchedulerClass]: (config: SchedulerConfig) => Sampler } = {
  CogVideoXDDIMScheduler: ddimSampler,
  CogVideoXDPMScheduler: dpmSampler,
  DDIMScheduler: genericDdimSampler,
  DDIMInverseScheduler: inverseDdimSampler,
};

/**
 * The sampler of the checkpoint, or the one named. Naming another one than the checkpoint's keeps the noise schedule's
 * numbers; between "ddim" and "dpm" it sets trailing timesteps, as the official demo does. "inverse" drops the SNR
 * shift, which DDIMInverseScheduler does not have.
 * @throws ConfigError when the checkpoint's class has no such sampler.
 */
export function samplerFor(config: SchedulerConfig, choice?: SamplerChoice): Sampler {
  const chosen = choice === undefined ? config : reconfigure(config, choice);
  return samplers[chosen.className](chosen);
}

function reconfigure(config: SchedulerConfig, choice: SamplerChoice): SchedulerConfig {
  const { className } = config;
  if (choice === "inverse") return { ...config, className: "DDIMInverseScheduler", snrShiftScale: 1 };
  if (className === "DDIMScheduler" && choice === "ddim") return config;
  if (!isCogVideoXClass(className)) {
    throw new ConfigError(
      `scheduler ${choice} does not work with a checkpoint whose scheduler class is ${className}; ` +
        "leave the scheduler to the checkpoint",
    );
  }
  const wanted = choice === "dpm" ? "CogVideoXDPMScheduler" : "CogVideoXDDIMScheduler";
  if (className === wanted) return config;
  return { ...config, className: wanted, timestepSpacing: "trailing" };
}
