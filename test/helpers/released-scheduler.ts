/** @file The scheduler of the released models, as `scheduler/scheduler_config.json` has it. */

export const releasedScheduler = {
  _class_name: "CogVideoXDDIMScheduler",
  clip_sample: false,
  prediction_type: "v_prediction",
  rescale_betas_zero_snr: true,
  timestep_spacing: "trailing",
  snr_shift_scale: 1,
};
