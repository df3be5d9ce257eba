# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Run by torchrun in two processes: with FSDP2 shards, gradients are those of one process with both batches."""

import copy
import datetime
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

sys.path.insert(0, str(Path(__file__).parents[1] / "demo"))
import demo_parts

from wings_hf.data.collator import ConversationCollator


def main(folder: Path) -> None:
    """The first process sees text alone, the second an image."""
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
    mesh = init_device_mesh("cpu", (2,))
    torch.manual_seed(0)
    model = demo_parts.model().train()
    whole = copy.deepcopy(model)
    photo = demo_parts.picture(folder / f"{dist.get_rank()}.png")
    collate = ConversationCollator(demo_parts.processor(), image_in_every_batch=True)
    batches = [collate([demo_parts.chat("What is this?", "A pear.", *[photo] * images)]) for images in (0, 1)]
    for layer in model.model.language_model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model(**batches[dist.get_rank()]).loss.backward()
    for batch in batches:
        (whole(**batch).loss / 2).backward()
    compared = 0
    for (name, sharded), expected in zip(model.named_parameters(), whole.parameters(), strict=True):
        assert (sharded.grad is None) == (expected.grad is None), name
        if sharded.grad is not None:
            torch.testing.assert_close(sharded.grad.full_tensor(), expected.grad, atol=1e-6, rtol=1e-5, msg=name)
            compared += 1
    print(f"compared {compared}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
