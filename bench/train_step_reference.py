"""The training step of train-step.ts in diffusers on PyTorch: one for every line on stdin, its seconds on stdout.

At the end of stdin it prints its peak memory in MiB.

    python train_step_reference.py THREADS
"""

import os
import resource
import sys
import time

# Threads that wait by spinning lose ten times over where other processes work beside them.
os.environ["OMP_WAIT_POLICY"] = "passive"

import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed

torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
CLIPS, FRAMES, SIZE, TEXT = 8, 4, 16, 32
model = CogVideoXTransformer3DModel(
    num_attention_heads=4,
    attention_head_dim=64,
    num_layers=4,
    text_embed_dim=256,
    sample_width=SIZE,
    sample_height=SIZE,
    sample_frames=13,
    max_text_seq_length=TEXT,
    use_rotary_positional_embeddings=True,
)
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=1e-4)
grid = SIZE // 2
rotary = get_3d_rotary_pos_embed(64, ((0, 0), (grid, grid)), (grid, grid), FRAMES)
latents = torch.rand(CLIPS, FRAMES, 16, SIZE, SIZE) * 2 - 1
noise = torch.randn_like(latents)
text = torch.rand(CLIPS, TEXT, 256) * 2 - 1
times = torch.tensor([i * 331 % 1000 for i in range(CLIPS)])
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
