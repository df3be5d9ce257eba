# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Images per second on their way to the language model, beside what transformers does with the same photos.

    python benchmarks/images.py                        # photos made here, and a tower of SigLIP's base size
    python benchmarks/images.py --photos FOLDER --json images.json

Three parts, each with its cases in turn in one process, so that a slow spell of the machine meets all of them:

- processor: `WingsProcessor` on images alone, with text, and padding to squares, beside the bare image processor and
  the processor of Llava with the same parts; one photo a call, and all in one.
- tower: `get_image_features` for a batch, beside one image after another.
- repeated: a conversation about one photo that is sent whole at each turn, with the features kept and without.

Printed are medians, the spread (quartiles) and the ratio of times to the case marked 1.00.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import LlamaConfig, LlavaProcessor, SiglipImageProcessorPil, SiglipVisionConfig
from transformers.utils import logging

from wings_hf import WingsConfig, WingsForCausalLM, WingsProcessor
from wings_hf.demo.parts import build_tokenizer

SIZES = ((640, 480), (480, 640), (1024, 768), (1920, 1080), (384, 384), (300, 900))
GREY = [127, 127, 127]
PATCH = 16

Case = Callable[[], Any]
Timing = dict[str, float]


def made_photos(count: int) -> list[Image.Image]:
    """Photos of several sizes: smooth colours with some noise, so that nothing about them is special."""
    rng = np.random.default_rng(0)
    photos = []
    for index in range(count):
        width, height = SIZES[index % len(SIZES)]
        coarse = Image.fromarray(rng.integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = smooth + rng.integers(-12, 13, smooth.shape, dtype=np.int16)
        photos.append(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    return photos


def read_photos(folder: Path, count: int) -> list[Image.Image]:
    """The first photos of a folder, decoded."""
    photos = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"):
            with Image.open(path) as image:
                photos.append(image.convert("RGB"))
        if len(photos) == count:
            break
    if not photos:
        raise SystemExit(f"{folder} holds no .jpg, .png or .webp files.")
    return photos


def time_in_turn(cases: dict[str, Case], repeats: int) -> dict[str, Timing]:
    """Seconds of each case: median, quartiles, least; the cases take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(repeats + 1):
        for name, case in cases.items():
            _wait()
            start = time.perf_counter()
            case()
            _wait()
            if repeat:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: _summary(values) for name, values in seconds.items()}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _summary(values: list[float]) -> Timing:
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return {"median": middle, "low": low, "high": high, "least": min(values)}


def report(title: str, timings: dict[str, Timing], images: int) -> dict[str, Any]:
    """Prints one table and returns it."""
    print(f"\n{title}")
    base = next(iter(timings.values()))
    table = {}
    for name, timing in timings.items():
        ratio, least = timing["median"] / base["median"], timing["least"] / base["least"]
        rate = images / timing["median"]
        spread = f"{images / timing['high']:.1f} to {images / timing['low']:.1f}"
        print(f"  {name:<34} {rate:9.1f} images/s  ({spread})  time x{ratio:.2f}, least x{least:.2f}")
        table[name] = {"images_per_second": rate, "time_ratio": ratio, "least_time_ratio": least, "seconds": timing}
    return table


def processor_cases(
    photos: list[Image.Image], image_processor: Any, processors: dict[str, Any]
) -> dict[str, dict[str, Case]]:
    """The same work asked for in several ways; `one by one` calls are as many as there are photos."""
    texts = ["<image>\nWhat is this?"] * len(photos)
    plain, square, llava = processors["plain"], processors["square"], processors["llava"]

    def each(call: Callable[[list[Image.Image], list[str]], Any]) -> Case:
        return lambda: [call([photo], [text]) for photo, text in zip(photos, texts, strict=True)]

    def together(call: Callable[[list[Image.Image], list[str]], Any]) -> Case:
        return lambda: call(photos, texts)

    def bare(images: list[Image.Image], texts: list[str]) -> Any:
        return image_processor(images, return_tensors="pt")

    def bare_on_squares(images: list[Image.Image], texts: list[str]) -> Any:
        return image_processor([_square(image) for image in images], return_tensors="pt")

    images_alone = {
        "bare image processor": bare,
        "WingsProcessor": lambda images, texts: plain(images=images, return_tensors="pt"),
    }
    squares = {
        "bare image processor, on squares": bare_on_squares,
        "WingsProcessor, pad_to_square": lambda images, texts: square(images=images, return_tensors="pt"),
    }
    with_text = {
        "LlavaProcessor, with text": lambda images, texts: llava(
            images=images, text=texts, padding=True, return_tensors="pt"
        ),
        "WingsProcessor, with text": lambda images, texts: plain(
            images=images, text=texts, padding=True, return_tensors="pt"
        ),
    }
    groups = {"images alone": images_alone, "squares": squares, "with text": with_text}
    return {
        f"{group}, {way}": {name: make(call) for name, call in calls.items()}
        for group, calls in groups.items()
        for way, make in (("one by one", each), ("in one call", together))
    }


def _square(image: Image.Image) -> Image.Image:
    """The plainest way to pad to a square."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), tuple(GREY))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def build_model(tokens: int, image_size: int, layers: int, device: str) -> WingsForCausalLM:
    """SigLIP's base tower with fewer layers where asked, before a language model that does not matter here."""
    vision = SiglipVisionConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=layers,
        num_attention_heads=12,
        image_size=image_size,
        patch_size=PATCH,
    )
    text = LlamaConfig(
        vocab_size=tokens,
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=2,
        num_attention_heads=8,
        max_position_embeddings=8192,
    )
    config = WingsConfig(text_config=text, vision_config=vision, router="modality", learner_rank=8)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    return WingsForCausalLM(config).eval().to(device, dtype)


def tower_cases(model: WingsForCausalLM, pixel_values: torch.Tensor) -> dict[str, Case]:
    def one_by_one() -> None:
        with torch.no_grad():
            for image in pixel_values.split(1):
                model.get_image_features(image)

    def in_one_call() -> None:
        with torch.no_grad():
            model.get_image_features(pixel_values)

    return {"one by one": one_by_one, "in one call": in_one_call}


def repeated_cases(model: WingsForCausalLM, pixel_values: torch.Tensor, turns: int) -> dict[str, Case]:
    def talk(keep: bool) -> None:
        model.cache_image_features(8 if keep else None)
        with torch.no_grad():
            for _ in range(turns):
                model.get_image_features(pixel_values[:1])
        model.cache_image_features(None)

    return {"encoded at each turn": lambda: talk(False), "features kept": lambda: talk(True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photos to use; made here by default")
    parser.add_argument("--count", type=int, default=24, metavar="N", help="how many photos (24)")
    parser.add_argument("--repeats", type=int, default=9, metavar="N", help="rounds that count (9)")
    parser.add_argument("--image-size", type=int, default=384, metavar="N", help="pixels for the tower (384)")
    parser.add_argument("--tower-layers", type=int, default=12, metavar="N", help="layers of the tower (12)")
    parser.add_argument("--tower-images", type=int, default=8, metavar="N", help="images in one tower call (8)")
    parser.add_argument("--turns", type=int, default=4, metavar="N", help="turns about one photo (4)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    device = "cuda" if torch.cuda.is_available() else "cpu"

    photos = (
        made_photos(arguments.count) if arguments.photos is None else read_photos(arguments.photos, arguments.count)
    )
    size = {"height": arguments.image_size, "width": arguments.image_size}
    image_processor = SiglipImageProcessorPil(size=size)
    tokenizer = build_tokenizer()
    tokenizer.padding_side = "left"
    tower = {"patch_size": PATCH, "vision_feature_select_strategy": "full"}
    plain = WingsProcessor(image_processor, tokenizer, **tower)
    processors = {
        "plain": plain,
        "square": WingsProcessor(image_processor, tokenizer, pad_to_square=GREY, **tower),
        "llava": LlavaProcessor(image_processor, tokenizer, image_token=plain.image_token, **tower),
    }
    results: dict[str, Any] = {"photos": len(photos), "device": device, "threads": torch.get_num_threads()}
    for title, cases in processor_cases(photos, image_processor, processors).items():
        timings = time_in_turn(cases, arguments.repeats)
        results[title] = report(f"processor, {title}", timings, len(photos))

    model = build_model(len(tokenizer) + 1, arguments.image_size, arguments.tower_layers, device)
    pixel_values = plain(images=photos[: arguments.tower_images], return_tensors="pt")["pixel_values"]
    pixel_values = pixel_values.to(model.device, model.dtype)
    timings = time_in_turn(tower_cases(model, pixel_values), arguments.repeats)
    results["tower"] = report("tower and projector", timings, len(pixel_values))
    timings = time_in_turn(repeated_cases(model, pixel_values, arguments.turns), arguments.repeats)
    results["repeated"] = report(f"one photo at {arguments.turns} turns", timings, arguments.turns)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
