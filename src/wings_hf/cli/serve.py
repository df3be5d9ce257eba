# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Serve a model over HTTP, for clients that speak OpenAI's protocol, with images and streamed answers.

This is `transformers serve` (pip install "transformers[serving]"), told where the Wings classes are, and with the
features of images kept: a client sends its images again at each turn. MODEL is a folder or a name; all options of
`transformers serve` may follow it, see `transformers serve --help`.
"""

import argparse

HELP = "serve a model over HTTP, with images (transformers serve)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example:\n  wings-hf serve my-model/tune --port 8000 --device cuda"
    parser.add_argument(
        "--cached-images", type=int, default=64, metavar="N", help="images whose features are kept (64; 0: none)"
    )
    parser.add_argument("model", metavar="MODEL", help="folder or name of the model")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="OPTION", help="options of transformers serve")


def run(args: argparse.Namespace) -> int:
    import typer
    from transformers.cli.serve import Serve

    from wings_hf.cli.chat_session import check_name

    check_name(args.model)
    introduce_wings(args.cached_images)
    app = typer.Typer(add_completion=False)
    app.command()(Serve)
    typer.main.get_command(app).main([args.model, *args.options], prog_name="wings-hf serve", standalone_mode=False)
    return 0


def introduce_wings(cached_images: int = 0) -> None:
    """
    Makes the server find a Wings model's class, which it looks up by name in transformers.

    Args:
        cached_images: images whose features each model keeps; 0 for none.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as IMAGE_MODELS

    from wings_hf import WingsConfig, WingsForCausalLM

    class Loader:
        @staticmethod
        def from_pretrained(*args, **kwargs):
            model = WingsForCausalLM.from_pretrained(*args, **kwargs)
            if cached_images:
                model.cache_image_features(cached_images)
            return model

    setattr(transformers, WingsForCausalLM.__name__, Loader)
    IMAGE_MODELS[WingsConfig.model_type] = WingsForCausalLM.__name__
