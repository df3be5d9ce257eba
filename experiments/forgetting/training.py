# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Both stages of one method with one seed, and the model that comes out."""

import copy
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from forgetting.methods import METHODS
from forgetting.methods.base import LOW_RANK, NEW, PROJECTOR, Method, Rate, State
from forgetting.settings import Settings
from forgetting.world import World
from wings_hf.demo.conversations import Batches, first
from wings_hf.modeling.modeling_wings import WingsForCausalLM
from wings_hf.training.guards import StopOnBadLoss

BETAS, WEIGHT_DECAY, SCHEDULE, WARMUP = (0.9, 0.98), 0.0, "cosine", 0.1  # of AdamW; a share of the steps
# What changes nothing where there is one learner: but for the router of the attention mass, which weighs it, too.
STAGE_2_FIELDS = ("router", "router_positions", "learner_scope")
ALIGNED = {PROJECTOR: NEW, r"\.visual_learner\.": LOW_RANK}


class Runs:
    """The fits of one world, kept in `folder`: `align/KEY/seed-N` and `tune/METHOD/seed-N`."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder = world, folder

    # ---- stage 1 ------------------------------------------------------------------------------------------------
    def align_key(self, method: Method) -> str:
        """Methods of the same key share their stage 1."""
        learners = first_learners(method)
        if not learners:
            return "projector"
        idle = STAGE_2_FIELDS if method.fields.get("router") != "mass" else STAGE_2_FIELDS[1:]
        fields = {name: value for name, value in method.fields.items() if name not in idle}
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:6]
        return "-".join([*learners, *([digest] if fields else [])])

    def align_folder(self, method: Method, seed: int) -> Path:
        return self.folder / "align" / self.align_key(method) / f"seed-{seed}"

    def align(self, method: Method, seed: int) -> None:
        """Stage 1: the projector, and the visual learner where there is one, learn to read images."""
        folder = self.align_folder(method, seed)
        if folder.exists():
            return
        torch.manual_seed(seed)
        model = self.world.untrained(**{**method.fields, "learners": first_learners(method)})
        fit(model, ALIGNED, self.world.align_batches(seed), self.world, seed)
        unfinished = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        model.save_pretrained(unfinished)
        unfinished.replace(folder)

    # ---- stage 2 ------------------------------------------------------------------------------------------------
    def start(self, method: Method, seed: int) -> Any:
        """The model as it is when stage 2 begins: all parts there, those of the method as it makes them."""
        model = WingsForCausalLM.from_pretrained(self.align_folder(method, seed), **method.fields)
        model.turn_marks = lambda: self.world.turn_marks  # asked by a method that has to know
        torch.manual_seed(seed + 1)
        missing = [name for name in method.learners if name not in model.config.learners]
        if missing:
            model.add_learners(*missing)
        return method.install(model)

    def weights(self, method: Method, seed: int) -> Path:
        return self.folder / "tune" / method.name / f"seed-{seed}" / "model.safetensors"

    def tune(self, method: Method, seed: int) -> None:
        """Stage 2 (or what takes its place): leaves the weights, and the loss of each step."""
        if self.weights(method, seed).exists():
            return
        if method.derived_from is not None:
            source = METHODS[method.derived_from]
            assert method.transform is not None
            start = state_of(self.start(source, seed))
            self._keep(method, seed, method.transform(start, load_file(self.weights(source, seed))), [])
            return
        model = self.start(method, seed)
        data = self.world.tune_batches(seed, method.text_share)
        losses = fit(model, method.trained, data, self.world, seed, method)
        self._keep(method, seed, state_of(model), losses)

    def losses(self, method: Method, seed: int) -> list[float]:
        """The loss of each step of stage 2; none where there was no training."""
        return json.loads((self.weights(method, seed).parent / "losses.json").read_text())

    def _keep(self, method: Method, seed: int, state: State, losses: list[float]) -> None:
        """Weights last and in one move: where they are, the run is done."""
        path = self.weights(method, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "losses.json").write_text(json.dumps(losses))
        unfinished = path.with_suffix(".part")
        save_file(dict(state), unfinished)
        unfinished.replace(path)

    def trained(self, method: Method, seed: int) -> Any:
        """The model that stage 2 left."""
        source = METHODS[method.derived_from] if method.derived_from else method
        model = self.start(source, seed)
        state = load_file(self.weights(method, seed))
        parameters = dict(model.named_parameters())
        if parameters.keys() != state.keys():
            raise ValueError(f"{self.weights(method, seed)} has other parameters than {method.name!r} makes.")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(state[name])
        return model.to(self.world.device).eval()


def first_learners(method: Method) -> tuple[str, ...]:
    """Learners of stage 1."""
    return ("visual",) if "visual" in method.learners else method.learners


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters by name, each once."""
    return {name: parameter.detach().cpu().contiguous() for name, parameter in model.named_parameters()}


# ---- one fit ------------------------------------------------------------------------------------------------------
class _Losses(TrainerCallback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.values.append(logs["loss"])


class _PenaltyTrainer(Trainer):
    """Adds the method's penalty to the loss."""

    method: Method
    begin: nn.Module

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        assert self.method.penalty is not None
        loss = loss + self.method.penalty(self.accelerator.unwrap_model(model), self.begin, inputs, outputs)
        return (loss, outputs) if return_outputs else loss


def fit(
    model: Any,
    trained: Mapping[str, Rate],
    data: Batches,
    world: World,
    seed: int,
    method: Method | None = None,
) -> list[float]:
    """Train what `trained` says on `data`, once; returns the loss of each step."""
    losses = _Losses()
    options: dict[str, Any] = {
        "args": _arguments(len(data), seed, world.device),
        "train_dataset": data,
        "data_collator": first,
        "callbacks": [StopOnBadLoss(), losses],
        "optimizer_cls_and_kwargs": (
            torch.optim.AdamW,
            {
                "params": parameter_groups(model, trained, world.settings),
                "betas": BETAS,
                "weight_decay": WEIGHT_DECAY,
            },
        ),
    }
    if method is not None and method.penalty is not None:
        begin = copy.deepcopy(model).requires_grad_(False).eval()
        trainer: Trainer = _PenaltyTrainer(model, **options)
        trainer.method, trainer.begin = method, begin.to(trainer.args.device)  # type: ignore[attr-defined]
    else:
        trainer = Trainer(model, **options)
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    trainer.train()
    return losses.values


def parameter_groups(model: nn.Module, trained: Mapping[str, Rate], settings: Settings) -> list[dict[str, Any]]:
    """One group for each rate; what has none is frozen.

    Raises:
        ValueError: no parameter moves.
    """
    rate_of = Method("", "", "", trained).rate_of
    by_rate: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate = rate_of(name)
        parameter.requires_grad_(rate is not None)
        if rate is not None:
            base = settings.new_parts_rate if rate.of == "new_parts" else settings.tuned_rate
            by_rate.setdefault(base * rate.factor, []).append(parameter)
    if not by_rate:
        raise ValueError(f"patterns {list(trained)} match no parameter of the model.")
    return [{"params": parameters, "lr": rate} for rate, parameters in by_rate.items()]


def _arguments(steps: int, seed: int, device: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir="unused",
        max_steps=steps,
        per_device_train_batch_size=1,
        lr_scheduler_type=SCHEDULE,
        warmup_steps=WARMUP,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        use_cpu=device == "cpu",
        bf16=device != "cpu",
        seed=seed,
        disable_tqdm=True,
    )
