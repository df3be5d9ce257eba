# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A Space on which people talk to a Wings model. The model and all settings are Space variables, see docs/app.md.

On ZeroGPU each answer runs in a process that has a GPU; elsewhere on the GPU that there is, else on the CPU.
"""

import os

try:
    import spaces  # before torch: on ZeroGPU it stands in for CUDA until a GPU is there
except ImportError:
    spaces = None

from wings_hf.app.controller import Controller
from wings_hf.app.engine import Engine
from wings_hf.app.launch import launch, serve_until_interrupted
from wings_hf.app.page import build_page
from wings_hf.app.settings import Settings
from wings_hf.app.zero_gpu import run_on_zero_gpu


def build(settings: Settings):
    """The page for the model that the settings name."""
    if not settings.model:
        raise ValueError("Set the Space variable WINGS_MODEL to the name of a Wings model, such as org/name.")
    on_zero_gpu = spaces is not None and os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
    engine = Engine.load(settings.model, "cuda" if on_zero_gpu else settings.device, settings.revision)
    if not on_zero_gpu:
        return build_page(Controller(engine, settings))
    run = run_on_zero_gpu(engine, spaces.GPU(duration=settings.gpu_seconds))
    return build_page(Controller(engine, settings, run, keeps_caches=False))


if __name__ == "__main__":
    settings = Settings.from_environment()
    page = build(settings)
    launch(page, settings)
    serve_until_interrupted(page)
