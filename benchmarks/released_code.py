# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
How the code released with the paper differs from the paper, shown by experiments with `semantics="released"`.

    python benchmarks/released_code.py            # all, about ten minutes on one core; docs/released_checkpoint.md
    python benchmarks/released_code.py leak doubling

leak       trained on uniformly random tokens: what is the loss after an image?
doubling   what becomes of the logits if both learners are added once, as in Eq. 5?
batch      what becomes of a row's logits if it stands beside a shorter one, as the released code has it?
images     does a second image reach the visual learner?
recompute  what does it cost to generate without a cache?
cache      how often do greedy answers differ with a cache, at random weights and after training?
causal     how far do logits move when the same weights get the canonical semantics?
"""

import argparse
import copy
import json
import math
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import LlamaConfig
from transformers.utils import logging

from wings_hf import WingsConfig, WingsForCausalLM
from wings_hf.demo.conversations import Batches, Messages, mixture, text_turn, visual_turn
from wings_hf.demo.experiment import CONTENDERS, Experiment
from wings_hf.demo.fitting import Fit
from wings_hf.demo.settings import DemoSettings
from wings_hf.demo.text_tasks import TEXT_TASKS

VOCABULARY, IMAGE_TOKENS, PROMPT = 16, 4, 3
TEXT_BEFORE, TEXT_AFTER = 6, 22


def build(semantics: str, random_wings: bool, hidden: int = 64, positions: int = 128) -> WingsForCausalLM:
    """Two layers; with random wings every parameter matters, else learners and router start at zero."""
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=positions,
    )
    fields = {"learner_query": "post_attention", "learner_rope": True, "router": "position"}
    torch.manual_seed(0)
    config = WingsConfig(
        text_config=text,
        vision_feature_size=8,
        learner_rank=8,
        router_positions=positions,
        semantics=semantics,
        system_prompt_length=PROMPT,
        **fields,
    )
    model = WingsForCausalLM(config)
    if random_wings:
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=1.0 if ".router." in name else parameter.shape[-1] ** -0.5)
    return model


def sample(model: WingsForCausalLM, rows: int) -> dict[str, Tensor]:
    """Uniformly random text around an image of random features."""
    ids = torch.randint(VOCABULARY, (rows, TEXT_BEFORE + IMAGE_TOKENS + TEXT_AFTER))
    ids[:, TEXT_BEFORE : TEXT_BEFORE + IMAGE_TOKENS] = model.config.image_token_id
    return {"input_ids": ids, "pixel_values": torch.randn(rows, IMAGE_TOKENS, 8)}


def leak(arguments: argparse.Namespace) -> dict[str, float]:
    """Loss on the text after the image, in nats; random tokens cannot be predicted better than ln V."""
    losses = {"ln V": math.log(VOCABULARY)}
    for semantics in ("paper", "released"):
        model = build(semantics, random_wings=False)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        torch.manual_seed(1)
        for _ in tqdm(range(arguments.steps), desc=f"leak, {semantics}"):
            _loss_after_image(model, 32).backward()
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            losses[semantics] = statistics.mean(_loss_after_image(model, 32).item() for _ in range(20))
    return losses


def _loss_after_image(model: WingsForCausalLM, rows: int) -> Tensor:
    inputs = sample(model, rows)
    labels = inputs["input_ids"].clone()
    labels[:, : TEXT_BEFORE + IMAGE_TOKENS + 1] = -100
    return model(**inputs, labels=labels).loss


@torch.no_grad()
def moved(change: Callable[[WingsForCausalLM], None]) -> float:
    """Largest change of a logit, relative to the largest logit, when `change` is made to a random released model."""
    model = build("released", random_wings=True).eval()
    inputs = sample(model, 8)
    before = model(**inputs).logits
    changed = copy.deepcopy(model)
    change(changed)
    return ((changed(**inputs).logits - before).abs().max() / before.abs().max()).item()


def _halve(*learners: str) -> Callable[[WingsForCausalLM], None]:
    """Adding a learner once instead of twice is halving its output map."""

    def change(model: WingsForCausalLM) -> None:
        for name, parameter in model.named_parameters():
            if name.endswith("o_b") and any(f"{learner}_learner" in name for learner in learners):
                parameter.mul_(0.5)

    return change


def doubling(arguments: argparse.Namespace) -> dict[str, float]:
    return {"logits move by": moved(_halve("visual", "textual"))}


def batch(arguments: argparse.Namespace) -> dict[str, float]:
    """The row with most text in a batch of unequal rows has its visual learner added once, all others twice."""
    return {"logits of the longest row move by": moved(_halve("visual"))}


@torch.no_grad()
def images(arguments: argparse.Namespace) -> dict[str, float]:
    """The released code hands the second image to the textual learner, as text; here it is marked so.

    Seen from the rows before either image, where only a learner that reads ahead can notice a change.
    """
    model = build("released", random_wings=True).eval()
    x = torch.randn(1, TEXT_BEFORE + IMAGE_TOKENS + TEXT_AFTER, 64)
    types = torch.zeros(x.shape[:2], dtype=torch.long)
    first = slice(TEXT_BEFORE, TEXT_BEFORE + IMAGE_TOKENS)
    second = slice(TEXT_BEFORE + IMAGE_TOKENS + 4, TEXT_BEFORE + 2 * IMAGE_TOKENS + 4)
    types[:, first] = 1
    attention = model.model.language_model.layers[0].self_attn
    seen: list[Tensor] = []
    attend = attention._attend
    attention._attend = lambda *args: seen.append(attend(*args)) or seen[-1]
    for changed in (None, first, second):
        y = x.clone()
        if changed is not None:
            y[:, changed] += 1.0
        model(inputs_embeds=y, mm_token_type_ids=types)
    before = slice(0, TEXT_BEFORE)
    visual = [(seen[i] - seen[0])[:, before].abs().max().item() for i in (2, 4)]
    return {"visual learner, first image changed": visual[0], "visual learner, second image changed": visual[1]}


def cache(arguments: argparse.Namespace) -> dict[str, float]:
    """Share of greedy answers that differ with a cache."""
    model = build("released", random_wings=True).eval()
    torch.manual_seed(2)
    prompts = [sample(model, 1) for _ in range(arguments.prompts)]
    options = {"max_new_tokens": 32, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    pairs = [[model.generate(**p, **options, use_cache=use) for use in (True, False)] for p in tqdm(prompts)]
    first = [int((a != b)[0].int().argmax()) - p["input_ids"].shape[1] for p, (a, b) in zip(prompts, pairs, strict=True)
             if not torch.equal(a, b)]  # fmt: skip
    found = {
        "random weights: share of 32-token answers that differ": len(first) / len(pairs),
        "random weights: median tokens before the first difference": statistics.median(first) if first else 32,
    }
    return found | _cache_after_training(arguments)


def recompute(arguments: argparse.Namespace) -> dict[str, float]:
    """The released code keeps no cache: the time of a generation, relative to that with one."""
    model = build("released", random_wings=True, hidden=256, positions=512).eval()
    ids = torch.randint(VOCABULARY, (1, 324))
    ids[:, TEXT_BEFORE : TEXT_BEFORE + IMAGE_TOKENS] = model.config.image_token_id
    inputs = {"input_ids": ids, "pixel_values": torch.randn(1, IMAGE_TOKENS, 8)}
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(5):
        for use_cache in seconds:
            begun = time.perf_counter()
            options = {"max_new_tokens": 64, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
            model.generate(**inputs, **options, use_cache=use_cache)
            seconds[use_cache].append(time.perf_counter() - begun)
    ratios = sorted(without / kept for without, kept in zip(seconds[False], seconds[True], strict=True))
    return {"64 tokens after 324, time without a cache, median": ratios[2], "least": ratios[0], "most": ratios[-1]}


def _cache_after_training(arguments: argparse.Namespace) -> dict[str, float]:
    """The demo's parts, trained under the released semantics to read one digit and go on with a text task."""
    experiment = Experiment(arguments.out, DemoSettings.quick() if arguments.quick else DemoSettings())
    experiment.fit_parts()
    settings = experiment.settings

    def conversations(split: str) -> Callable[[random.Random], Messages]:
        def read(rng: random.Random, digits: object) -> tuple:
            digit = experiment.digits[split].draw(rng)
            return "Read <image>.", [digit], str(digit.value)

        show = visual_turn(read, experiment.digits[split])
        text = mixture({text_turn(task): 1.0 for task in TEXT_TASKS.values()}, 1)
        return lambda rng: show(rng) + text(rng)

    stages = experiment.recipe(CONTENDERS[0]).stages
    steps = {"align": settings.align_steps, "tune": settings.tune_steps}
    fits = [
        Fit(
            f"released, {stage.name}",
            arguments.out / "released" / stage.name,
            Batches(conversations("train"), steps[stage.name], 16, experiment.collator, f"released/{stage.name}"),
            stage=stage,
        )
        for stage in stages
    ]
    options = {"semantics": "released", "system_prompt_length": 1}
    fits[0].run(lambda: experiment.untrained(**options, learners=("visual",)))
    fits[1].run(lambda: WingsForCausalLM.from_pretrained(fits[0].model_folder))
    model = WingsForCausalLM.from_pretrained(fits[1].model_folder).eval()
    make = conversations("test")
    talks = [make(random.Random(f"test/{i}")) for i in range(arguments.prompts)]
    return _answers(model, experiment, talks)


def _answers(model: WingsForCausalLM, experiment: Experiment, talks: list[Messages]) -> dict[str, float]:
    differ, right = 0, {True: 0, False: 0}
    for messages in tqdm(talks, desc="answers"):
        inputs = experiment.processor.apply_chat_template(
            messages[:-1], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        said = {}
        for use_cache in (True, False):
            ids = model.generate(**inputs, max_new_tokens=24, do_sample=False, use_cache=use_cache)
            said[use_cache] = experiment.tokenizer.decode(
                ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
            )
            right[use_cache] += said[use_cache].strip() == messages[-1]["content"].strip()
        differ += said[True] != said[False]
    return {
        "trained: share of answers that differ": differ / len(talks),
        "trained: right with a cache": right[True] / len(talks),
        "trained: right without": right[False] / len(talks),
    }


@torch.no_grad()
def causal(arguments: argparse.Namespace) -> dict[str, float]:
    model = build("released", random_wings=True).eval()
    twin = build("paper", random_wings=False).eval()
    twin.load_state_dict(model.state_dict())
    inputs = sample(model, 64)
    text = {"input_ids": inputs["input_ids"][:, :TEXT_BEFORE]}
    ours, theirs = twin(**inputs).logits, model(**inputs).logits
    return {
        "logits move by": ((ours - theirs).abs().max() / theirs.abs().max()).item(),
        "same likeliest token": (ours.argmax(-1) == theirs.argmax(-1)).float().mean().item(),
        "text only, logits move by": (twin(**text).logits - model(**text).logits).abs().max().item(),
    }


EXPERIMENTS = {function.__name__: function for function in (leak, doubling, batch, images, cache, recompute, causal)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="EXPERIMENT", help=", ".join(EXPERIMENTS))
    parser.add_argument("--steps", type=int, default=1500, help="training steps of `leak`")
    parser.add_argument("--prompts", type=int, default=200, help="prompts of `cache`")
    parser.add_argument("--out", type=Path, default=Path("wings-released"), metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="a few steps of everything; the numbers mean nothing")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(EXPERIMENTS))
    if unknown:
        parser.error(f"{', '.join(unknown)}: expected some of {', '.join(EXPERIMENTS)}")
    if arguments.quick:
        arguments.steps, arguments.prompts = 20, 4
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in arguments.names or EXPERIMENTS:
        results[name] = EXPERIMENTS[name](arguments)
        for what, value in results[name].items():
            print(f"{name:10} {what:60} {value:.4g}", flush=True)
        (arguments.out / "released_code.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
