"""The training step of train-step.ts in diffusers on PyTorch: one for every line on stdin, its seconds on stdout.

At the end of stdin it prints its peak memory in MiB.

    python train_step_reference.py WORKLOAD

WORKLOAD is JSON: {threads, transformer: its config.json, clips, size: {frames, height, width, textLength}}.
"""

import json
import os
import resource
import sys
import time

# Threads that wait by spinning lose ten times over where other processes work beside them.
os.environ["OMP_WAIT_POLICY"] = "passive"

import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed

workload = json.loads(sys.argv[1])
torch.set_num_threads(workload["threads"])
torch.manual_seed(0)
config = {key: value for key, value in workload["transformer"].items() if not key.startswith("_")}
clips, size = workload["clips"], workload["size"]
frames, height, width = size["frames"], size["height"], size["width"]
model = CogVideoXTransformer3DModel(**config)
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=1e-4)
grid = (height // 2, width // 2)
rotary = get_3d_rotary_pos_embed(config["attention_head_dim"], ((0, 0), grid), grid, frames)
latents = torch.rand(clips, frames, 16, height, width) * 2 - 1
noise = torch.randn_like(latents)
text = torch.rand(clips, size["textLength"], config["text_embed_dim"]) * 2 - 1
times = torch.tensor([i * 331 % 1000 for i in range(clips)])
mix = (times / 1000).sqrt().reshape(-1, 1, 1, 1, 1)
keep = (1 - times / 1000).sqrt().reshape(-1, 1, 1, 1, 1)


def step():
    optimiser.zero_grad(set_to_none=True)
    predicted = model(keep * latents + mix * noise, text, times, image_rotary_emb=rotary).sample
    loss = torch.nn.functional.mse_loss(predicted, keep * noise - mix * latents)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return loss.item()


for _ in sys.stdin:
    start = time.perf_counter()
    step()
    print(time.perf_counter() - start, flush=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)
