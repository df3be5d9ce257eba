#!/usr/bin/env python3
# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Checks Wings models on every attention backend of this machine, above all on those that need a GPU.

    python scripts/check_gpu.py                  # on a machine with a CUDA GPU: all that is installed there
    python scripts/check_gpu.py --cpu [--quick]  # what a CPU can: eager, sdpa, FlexAttention forward

    precision  logits and all gradients, for padded batches with no, one and many images, and for packed samples. The
               rule is that of flash-attention's own tests: the error against float32 eager attention is at most
               twice that of eager attention in the same dtype. It counts the largest error of the logits and the
               average over all gradients; to a single kind of parameter, where chance weighs more, it allows five
               times the error. In float32 the allowance is 2e-5 (1e-4) of the values themselves.
    generate   greedy decoding on every kind of cache against one call without a cache: logits by the same rule, and
               the chosen tokens are the likeliest up to that error. A compiled static cache must be one graph.
    trainer    two steps of transformers' Trainer, in mixed precision: the losses are those of eager attention, all
               parameters of learners, routers and projector move and stay finite.
    memory     twice the length takes twice the memory, forward and backward: no s x s matrix. On a CPU the largest
               tensor stands for it.
    kernels    on a GPU: scripts/time_kernels.py, which checks, times and profiles the Triton kernels.

Prints a table and writes it as JSON. Exits with 1 if anything failed, with 2 if nothing could be checked. What was
left out is listed with the reason. Models are small, with random weights under which all parts of the wings matter.
"""

import argparse
import copy
import importlib.metadata
import json
import logging
import platform
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, CompileConfig, PrinterCallback, SiglipVisionConfig, Trainer, TrainingArguments

from wings_hf import WingsConfig, WingsForCausalLM, __version__

CHECKS = ("precision", "generate", "trainer", "memory")
ALL_CHECKS = (*CHECKS, "kernels")
BACKENDS = ("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3")
DTYPES = ("float32", "bfloat16", "float16")
CACHES: dict[str, dict[str, Any]] = {
    "dynamic": {},
    "static": {"cache_implementation": "static", "disable_compile": True},
    "static, compiled": {"cache_implementation": "static"},
    "offloaded": {"cache_implementation": "offloaded"},
    "offloaded_static": {"cache_implementation": "offloaded_static", "disable_compile": True},
}
PACKAGES = ("torch", "transformers", "accelerate", "flash-attn", "flash_attn", "flash_attn_3", "kernels", "triton")
VOCABULARY, NEW_TOKENS = 512, 10
NO_FLEX_BACKWARD = "no FlexAttention backward in torch on a CPU"
Result = tuple[str, dict[str, Any]]  # one line for the table, numbers for the JSON

LLAMA = {"model_type": "llama", "head_dim": 64}
QWEN3 = {"model_type": "qwen3", "head_dim": 128}
GEMMA3 = {  # heads of 256: in fused kernels no room beside them for the router's columns
    "model_type": "gemma3_text",
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 24,
    "layer_types": ["sliding_attention", "full_attention"],
}
GEMMA2 = {**GEMMA3, "model_type": "gemma2", "attn_logit_softcapping": 20.0, "final_logit_softcapping": 10.0}
CASES: dict[str, tuple[dict, dict]] = {  # name: (language model, wings)
    "llama position": (LLAMA, {"router": "position", "learner_rope": True}),
    "llama modality visual_context": (LLAMA, {"router": "modality", "learner_scope": "visual_context"}),
    "llama uniform": (LLAMA, {"router": "uniform"}),
    "gemma2 position": (GEMMA2, {"router": "position", "learner_rope": True}),
    "gemma2 modality visual_context": (GEMMA2, {"router": "modality", "learner_scope": "visual_context"}),
    "gemma3 modality": (GEMMA3, {"router": "modality"}),
    "qwen3 modality": (QWEN3, {"router": "modality", "learner_query": "post_attention"}),
    "qwen3 position visual_context": (QWEN3, {"router": "position", "learner_scope": "visual_context"}),
}
QUICK_CASES = ("llama position", "gemma2 modality visual_context")


class SkippedError(Exception):
    """Why a check is left out."""


# ---- models and inputs -------------------------------------------------------------------------------------------


def build(text: dict, wings: dict, quick: bool) -> WingsForCausalLM:
    """A float32 model on the CPU, in evaluation mode."""
    hidden, heads = (64, 4) if quick else (512, 8)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": heads, "num_key_value_heads": heads // 2, "max_position_embeddings": 1 << 17}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    side = {"image_size": 16, "patch_size": 4} if quick else {"image_size": 48, "patch_size": 8}
    tower = SiglipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, vision_use_head=False, **side
    )
    text_config = AutoConfig.for_model(**sizes, **tokens, **text)
    torch.manual_seed(0)
    config = WingsConfig(
        text_config=text_config, vision_config=tower, learner_rank=8, router_positions=1 << 14, **wings
    )
    model = WingsForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and ".router." not in name:  # norms, biases
            parameter.data += torch.randn_like(parameter) * 0.1
        elif "embed_tokens" in name:
            parameter.data.normal_(std=0.7 / (hidden**0.5 if "gemma" in text["model_type"] else 1.0))
        else:
            fan_in = 1 if ".router." in name else parameter.shape[0 if "_learner." in name else -1]
            parameter.data.normal_(std=fan_in**-0.5 * (0.7 if "_learner." in name else 1.0))
    model.generation_config.eos_token_id = None
    return model


def in_dtype(model: WingsForCausalLM, dtype: torch.dtype, device: str) -> WingsForCausalLM:
    """A copy with parameters of `dtype`; position tables stay float32, as after `from_pretrained`."""
    model = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model.to(device)


def use(model: WingsForCausalLM, backend: str) -> WingsForCausalLM:
    """Chooses the attention of all parts of `model`."""
    if backend == "sdpa" and getattr(model.config.text_config, "attn_logit_softcapping", None):
        raise SkippedError("sdpa has no soft-cap")
    if "flash" in backend and model.device.type == "cpu":
        raise SkippedError("FlashAttention needs a GPU")
    if "flash" in backend and model.dtype == torch.float32:
        raise SkippedError("FlashAttention takes bfloat16 and float16")
    try:
        model.set_attn_implementation(backend)
    except ImportError as error:
        raise SkippedError(str(error).strip().splitlines()[0]) from error
    return model


def make_inputs(model: WingsForCausalLM, rows: list[list], side: str) -> dict[str, Tensor]:
    """Inputs for rows of "I" (an image) and numbers of text tokens, padded on one side ("mixed": on either)."""
    generator = torch.Generator().manual_seed(1)
    image = [model.config.image_token_id] * model.config.image_seq_length
    ids = []
    for row in rows:
        parts = [image if p == "I" else torch.randint(3, VOCABULARY, (p,), generator=generator).tolist() for p in row]
        ids.append([token for part in parts for token in part])
    for number, row in enumerate(ids):
        padding = [0] * (max(map(len, ids)) - len(row))
        ids[number] = padding + row if side == "left" or (side == "mixed" and number % 2) else row + padding
    images, size = sum(part == "I" for row in rows for part in row), model.config.vision_config.image_size
    inputs = {"input_ids": torch.tensor(ids), "pixel_values": torch.randn(images, 3, size, size, generator=generator)}
    inputs["attention_mask"] = (inputs["input_ids"] != 0).long()
    return {name: tensor.to(model.device) for name, tensor in inputs.items()}


def precision_inputs(model: WingsForCausalLM, quick: bool) -> dict[str, dict[str, Tensor]]:
    """No, one and many images beside each other; and samples packed into one row, told apart by positions."""
    n, image = (12 if quick else 100), model.config.image_seq_length
    samples = [[n, "I", n // 2], [2 * n], ["I", "I", n]]
    packed = make_inputs(model, [[part for sample in samples for part in sample]], "left")
    lengths = [sum(image if part == "I" else part for part in sample) for sample in samples]
    packed["position_ids"] = torch.cat([torch.arange(length) for length in lengths])[None].to(model.device)
    del packed["attention_mask"]
    return {
        "padded": make_inputs(model, [[2 * n], [n, "I", n], ["I", n // 2, "I", "I", n // 3], ["I"]], "mixed"),
        "packed": packed,
    }


# ---- precision ---------------------------------------------------------------------------------------------------


def run_model(model: WingsForCausalLM, inputs: dict[str, Tensor], gradients: bool) -> dict[str, Tensor]:
    """Logits of real tokens, and the gradient of each parameter, all layers of a kind together, as float32."""
    with torch.set_grad_enabled(gradients):
        logits = model(**inputs, use_cache=False).logits[inputs["input_ids"] != 0].float()
    found = {"logits": [logits.detach()]}
    if gradients:
        model.zero_grad(set_to_none=True)
        weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2)).to(logits.device)
        (logits * weights).sum().div(len(logits) ** 0.5).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                kind = re.sub(r"\.\d+\.", ".", name).replace("router.bias", "router.weight")
                found.setdefault(kind, []).append(parameter.grad.float())
    return {kind: torch.cat([tensor.flatten() for tensor in tensors]) for kind, tensors in found.items()}


def share_of_allowed(found: float, eager: float, dtype: torch.dtype, times: int = 2) -> float:
    """A relative error over the one allowed (see the module's docstring)."""
    return found / (times * (eager + (1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps / 4)))


def largest(found: Tensor, exact: Tensor) -> float:
    return ((found - exact).abs().max() / exact.abs().max()).item()


def gradient_errors(found: dict[str, Tensor], exact: dict[str, Tensor]) -> dict[str, float]:
    """Root mean square errors relative to the gradients', by kind; "gradients" is the average over kinds."""
    errors = {
        kind: ((found[kind] - exact[kind]).norm() / exact[kind].norm().clamp(min=1e-12)).item()
        for kind in found
        if kind != "logits"
    }
    average = (sum(error**2 for error in errors.values()) / len(errors)) ** 0.5 if errors else 0.0
    return {"gradients": average, **errors}


class Precision:
    """One model in one dtype, with the exact results and those of eager attention, computed once."""

    def __init__(self, base: WingsForCausalLM, dtype: torch.dtype, device: str, quick: bool):
        self.model = use(in_dtype(base, dtype, device), "eager")
        self.exact_model = use(in_dtype(self.model, torch.float32, device), "eager")
        self.dtype, self.quick = dtype, quick
        self.inputs = precision_inputs(self.model, quick)
        self.exact = {name: run_model(self.exact_model, inputs, True) for name, inputs in self.inputs.items()}
        self.eager = {name: run_model(self.model, inputs, True) for name, inputs in self.inputs.items()}

    def check(self, backend: str, variant: str) -> Result:
        model, exact, eager = use(self.model, backend), self.exact[variant], self.eager[variant]
        gradients = not (backend == "flex_attention" and model.device.type == "cpu")
        if not gradients and self.quick and self.dtype != torch.float32:
            raise SkippedError("FlexAttention compiles for minutes on a CPU: --quick has it in float32 only")
        found = eager if backend == "eager" else run_model(model, self.inputs[variant], gradients)
        infinite = [kind for kind, tensor in found.items() if not tensor.isfinite().all()]
        if infinite:
            raise AssertionError(f"not finite: {len(infinite)} of {len(found)} kinds, {infinite[0]} among them")
        ours, base = gradient_errors(found, exact), gradient_errors(eager, exact)
        ours["logits"], base["logits"] = (largest(each["logits"], exact["logits"]) for each in (found, eager))
        shares = {kind: share_of_allowed(ours[kind], base[kind], self.dtype) for kind in ("logits", "gradients")}
        for kind in ours.keys() - shares.keys():
            shares[kind] = share_of_allowed(ours[kind], max(base[kind], base["gradients"]), self.dtype, times=5)
        worst = max(shares, key=lambda kind: (shares[kind] != shares[kind], shares[kind]))  # NaN first
        whole = f"gradients {ours['gradients']:.1e} ({base['gradients']:.1e})" if gradients else NO_FLEX_BACKWARD
        detail = f"logits {ours['logits']:.1e} (eager {base['logits']:.1e}), {whole}"
        detail += f"; {worst}: {shares[worst]:.2f} of allowed"
        if not shares[worst] <= 1:
            raise AssertionError(detail)
        return detail, {"errors": ours, "eager_errors": base, "worst": worst, "share": shares[worst]}


# ---- generate ----------------------------------------------------------------------------------------------------


def check_generate(data: Precision, backend: str, cache: str) -> Result:
    model, n, compiled = use(data.model, backend), 12 if data.quick else 100, cache == "static, compiled"
    if model.device.type == "cpu" and cache.startswith("offloaded"):
        raise SkippedError("offloaded caches need a GPU")
    if model.device.type == "cpu" and backend == "flex_attention":
        raise SkippedError("FlexAttention compiles for minutes on a CPU, once for each length")
    if "flash" in backend and compiled:
        raise SkippedError("transformers compiles FlashAttention with graph breaks")
    inputs = make_inputs(model, [[2 * n], [n, "I", n // 2], ["I", "I", "I", 4]], "left")
    settings = {**CACHES[cache], "max_new_tokens": NEW_TOKENS, "do_sample": False}
    if compiled:
        on_cpu = {"backend": "eager", "mode": None} if model.device.type == "cpu" else {}
        settings["compile_config"] = CompileConfig(fullgraph=True, **on_cpu)
        settings["compile_config"]._compile_all_devices = True
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
    output = model.generate(**inputs, **settings, output_logits=True, return_dict_in_generate=True)
    breaks, graphs = (torch._dynamo.utils.counters[name] for name in ("graph_break", "stats"))
    if compiled and (breaks or not graphs["unique_graphs"]):
        raise AssertionError(f"compiled {graphs['unique_graphs']} graphs, with breaks: {dict(breaks)}")
    inputs["input_ids"] = output.sequences
    inputs["attention_mask"] = nn.functional.pad(inputs["attention_mask"], (0, NEW_TOKENS), value=1)

    @torch.no_grad()
    def without_cache(model: WingsForCausalLM) -> Tensor:
        return model(**inputs, use_cache=False, logits_to_keep=NEW_TOKENS + 1).logits[:, :-1].float()

    found = torch.stack(output.logits, dim=1).float()
    eager, exact = without_cache(use(model, "eager")), without_cache(data.exact_model)
    share = share_of_allowed(largest(found, exact), largest(eager, exact), data.dtype)
    chosen = exact.gather(-1, output.sequences[:, -NEW_TOKENS:, None]).squeeze(-1)
    behind = exact.amax(-1) - chosen  # 0 but where two tokens are as likely up to the error
    detail = f"logits {share:.2f} of allowed; {int((behind > 0).sum())} of {behind.numel()} tokens near ties"
    if not share <= 1 or not (behind <= 2 * (found - exact).abs().max()).all():
        raise AssertionError(detail)
    return detail, {"share": share, "behind": behind.max().item(), "graphs": graphs["unique_graphs"]}


# ---- Trainer -----------------------------------------------------------------------------------------------------


def train(data: Precision, base: WingsForCausalLM, backend: str) -> tuple[list[float], WingsForCausalLM]:
    """Losses of two steps with float32 weights in mixed precision, and the trained model."""
    model, n = in_dtype(base, torch.float32, data.model.device), 12 if data.quick else 100
    model.set_attn_implementation(backend)
    batch = make_inputs(model, [[2 * n], [n, "I", n // 2], ["I", "I", "I", 4]], "right")
    ignored = (batch["input_ids"] >= VOCABULARY) | (batch["attention_mask"] == 0)
    batch["labels"] = batch["input_ids"].masked_fill(ignored, -100)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=2, per_device_train_batch_size=1, learning_rate=1e-3, logging_steps=1, report_to=[],
            save_strategy="no", disable_tqdm=True, use_cpu=model.device.type == "cpu", dataloader_pin_memory=False,
            bf16=data.dtype == torch.bfloat16, fp16=data.dtype == torch.float16,
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=[0, 1], data_collator=lambda _: dict(batch))
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return [log["loss"] for log in trainer.state.log_history if "loss" in log], model


def check_trainer(data: Precision, base: WingsForCausalLM, backend: str) -> Result:
    use(data.model, backend)
    if data.model.device.type == "cpu" and backend == "flex_attention":
        raise SkippedError(NO_FLEX_BACKWARD)
    if data.model.device.type == "cpu" and data.dtype == torch.float16:
        raise SkippedError("accelerate trains in float16 on a GPU only")
    losses, model = train(data, base, backend)
    wanted, _ = train(data, base, "eager")
    before = dict(base.named_parameters())
    wings = [(n, p.detach().cpu()) for n, p in model.named_parameters() if re.search("_learner|router|projector", n)]
    still = [name for name, tensor in wings if torch.equal(tensor, before[name]) or not tensor.isfinite().all()]
    if still:
        raise AssertionError(f"{len(still)} parameters did not move or are not finite, {still[0]} among them")
    if not all(abs(a - b) <= 0.02 * abs(b) for a, b in zip(losses, wanted, strict=True)):
        raise AssertionError(f"losses {losses}, with eager attention {wanted}")
    return f"losses {losses}; {len(wings)} parameters moved", {"losses": losses, "eager_losses": wanted}


# ---- memory ------------------------------------------------------------------------------------------------------


class LargestTensor(TorchDispatchMode):
    """Keeps the size in bytes of the largest tensor that any operation returns."""

    size = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor):
                self.size = max(self.size, tensor.untyped_storage().nbytes())
        return result


def memory_of(model: WingsForCausalLM, length: int) -> int:
    """Bytes that a forward and backward pass takes; on a CPU those of its largest tensor."""
    inputs = make_inputs(model, [[length // 2, "I", length // 2 - model.config.image_seq_length]], "left")
    inputs |= {"attention_mask": None, "labels": inputs["input_ids"].clamp(max=VOCABULARY - 1)}
    if model.device.type == "cpu":
        with LargestTensor() as largest:
            model(**inputs, use_cache=False).loss.backward()
        return largest.size
    for _ in range(2):  # the first makes gradients, compiles, and takes workspaces
        model.zero_grad(set_to_none=False)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        model(**inputs, use_cache=False).loss.backward()
    return torch.cuda.max_memory_allocated() - before


def keeps_matrix_for_grouped_queries() -> bool:
    """Whether torch's own sdpa does so on a CPU, as older versions do."""
    query, key = torch.zeros(1, 2, 512, 8), torch.zeros(1, 1, 512, 8)
    with LargestTensor() as largest:
        torch.nn.functional.scaled_dot_product_attention(query, key, key, is_causal=True, enable_gqa=True)
    return largest.size >= 512 * 512


def check_memory(data: Precision, backend: str) -> Result:
    model = use(data.model, backend)
    on_cpu = model.device.type == "cpu"
    if on_cpu and backend == "sdpa" and keeps_matrix_for_grouped_queries():
        raise SkippedError("this version of torch keeps a matrix for grouped queries on a CPU, with wings or without")
    if on_cpu and backend == "flex_attention":
        raise SkippedError(NO_FLEX_BACKWARD)
    lengths = (512, 1024) if on_cpu else (2048, 4096) if backend == "eager" or data.quick else (8192, 16384)
    sizes = [memory_of(model, length) for length in lengths]
    growth = sizes[1] / sizes[0]
    detail = f"{growth:.2f} times the memory for {lengths[1]} tokens instead of {lengths[0]}"
    if backend == "eager" and growth < 2.5:
        raise AssertionError(f"{detail}, though eager attention keeps a matrix: the check sees nothing")
    if backend != "eager" and growth > 2.2:
        raise AssertionError(detail)
    return detail + (", as it keeps a matrix" if backend == "eager" else ""), {"lengths": lengths, "bytes": sizes}


# ---- kernels -----------------------------------------------------------------------------------------------------


def check_kernels(output: str) -> Result:
    """Runs time_kernels.py, whose own JSON lies beside ours."""
    output = str(Path(output).with_name(Path(output).stem + "_kernels.json"))
    script = Path(__file__).with_name("time_kernels.py")
    code = subprocess.run([sys.executable, str(script), "--output", output]).returncode
    if code == 2:
        raise SkippedError("time_kernels.py found nothing that it can run")
    if code != 0:
        raise AssertionError(f"time_kernels.py exits with {code}: see {output}")
    return f"see {output}", {"output": output}


# ---- running -----------------------------------------------------------------------------------------------------


def run(labels: tuple[str, ...], check: Callable[..., Result], *arguments: Any) -> dict[str, Any]:
    """Runs one check and prints its line. Whatever a kernel raises is a result, and the other checks go on."""
    start, numbers = time.perf_counter(), {}
    try:
        (detail, numbers), result = check(*arguments), "ok"
    except SkippedError as reason:
        detail, result = str(reason), "skipped"
    except Exception as failure:
        line = (str(failure).strip().splitlines() or [""])[0]
        detail = line if isinstance(failure, AssertionError) else f"{type(failure).__name__}: {line}"
        result = "FAILED"
    print("{:9} {:31}{:17}{:18}{:9}{:8}".format(*labels, result), detail, flush=True)
    row = dict(zip(("check", "case", "variant", "backend", "dtype"), labels, strict=True))
    return {**row, "result": result, "detail": detail, "seconds": round(time.perf_counter() - start, 2), **numbers}


def run_case(case: str, options: argparse.Namespace, device: str) -> list[dict[str, Any]]:
    base, rows = build(*CASES[case], options.quick), []
    for dtype in options.dtypes:
        data = Precision(base, getattr(torch, dtype), device, options.quick)
        for backend in options.backends:
            plan: list[tuple] = [("precision", variant, data.check, backend, variant) for variant in data.inputs]
            plan += [("generate", cache, check_generate, data, backend, cache) for cache in CACHES]
            plan += [("trainer", "", check_trainer, data, base, backend), ("memory", "", check_memory, data, backend)]
            for check, variant, *call in plan:
                if check in options.checks:
                    rows.append(run((check, case, variant, backend, dtype), *call))
    return rows


def environment(device: str) -> dict[str, str]:
    installed = {str(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()}
    versions = {name: installed[name] for name in PACKAGES if name in installed}
    gpu = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    return {"device": device, **gpu, "python": platform.python_version(), "wings_hf": __version__, **versions}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="check what a CPU can, also where there is a GPU")
    parser.add_argument("--quick", action="store_true", help="smaller models, two cases")
    parser.add_argument("--backends", nargs="+", default=BACKENDS, help="any that transformers knows, Hub kernels too")
    parser.add_argument("--checks", nargs="+", default=ALL_CHECKS, choices=ALL_CHECKS, help="default: all")
    parser.add_argument("--dtypes", nargs="+", default=DTYPES, choices=DTYPES, help="default: all")
    parser.add_argument("--cases", nargs="+", choices=CASES, help="default: all, two with --quick")
    parser.add_argument("--output", default="check_gpu.json", help="the JSON file (default: %(default)s)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    device = "cpu" if options.cpu else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA GPU, so nothing is checked. Pass --cpu to check what a CPU can.", file=sys.stderr)
        return 2
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.backends.cudnn.allow_tf32 = False  # float32 is the reference
    about = environment(device)
    print(json.dumps(about))
    cases = options.cases or (QUICK_CASES if options.quick else CASES)
    with warnings.catch_warnings(action="ignore"), torch._dynamo.config.patch(recompile_limit=64):  # FlexAttention's
        rows = [row for case in cases for row in run_case(case, options, device)]
    if device == "cuda" and "kernels" in options.checks:
        rows.append(run(("kernels", "", "", "triton", ""), check_kernels, options.output))
    counts = {result: sum(row["result"] == result for row in rows) for result in ("ok", "FAILED", "skipped")}
    with open(options.output, "w") as file:
        json.dump({"environment": about, "counts": counts, "rows": rows}, file, indent=1)
    print(f"\n{counts['ok']} ok, {counts['FAILED']} failed, {counts['skipped']} skipped; written to {options.output}")
    for backend, reason in sorted({(row["backend"], row["detail"]) for row in rows if row["result"] == "skipped"}):
        print(f"skipped: {backend}: {reason}")
    return 1 if counts["FAILED"] else 0 if counts["ok"] else 2


if __name__ == "__main__":
    sys.exit(main())
