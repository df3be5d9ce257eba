# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Time and memory of `from_pretrained`, beside the same backbone without wings and beside reading the files.

    python benchmarks/loading.py --width 2048 --layers 16 --repeats 5

Each measurement is a process of its own, the cases take turns. The files are in the page cache, where they fit: what
is measured is what loading adds to reading. Memory is the growth of the process's peak, as a ratio to the files' size;
pages of mapped files count. Linux only.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel
from transformers.utils import logging

from wings_hf import WingsForCausalLM

CASES = {"files": "read", "backbone": "LlamaForCausalLM", "wings": "WingsForCausalLM"}
MEASURE = """
import json, sys, time
from pathlib import Path

case, folder = sys.argv[1:]
if case == "wings":
    from wings_hf import WingsForCausalLM as Model
elif case == "backbone":
    from transformers import LlamaForCausalLM as Model
if case != "files":
    import torch
    import transformers.integrations.accelerate, transformers.integrations.peft
    from transformers.utils import logging
    logging.disable_progress_bar()
    small = Path(folder).with_name(Path(folder).name + "-small")
    Model.from_pretrained(small)  # brings in what is imported late

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024

Path("/proc/self/clear_refs").write_text("5")
before, begun = peak(), time.perf_counter()
if case == "files":
    buffer = bytearray(64 * 2**20)
    for path in sorted(Path(folder).glob("*.safetensors")):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
else:
    model = Model.from_pretrained(folder)
    for parameter in model.parameters():  # a mapped file is read when its pages are used
        parameter.view(-1)[::1024].sum()
seconds = time.perf_counter() - begun
print(json.dumps({"seconds": seconds, "memory": peak() - before}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=2048, help="hidden size of the language model (2048)")
    parser.add_argument("--layers", type=int, default=16, help="its layers (16; with the width above 2.0 GB)")
    parser.add_argument("--rank", type=int, default=32, help="rank of the learners (32)")
    parser.add_argument("--shard", default="300MB", help="largest file (300MB)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    parser.add_argument("--folder", type=Path, help="where to put the models (a temporary folder)")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        sizes = write_models(Path(folder), arguments)
        results = measure(Path(folder), sizes, arguments.repeats)
    print(as_table(results))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"settings": {**vars(arguments)}, "results": results}, default=str, indent=2)
        )


def write_models(folder: Path, arguments: argparse.Namespace) -> dict[str, int]:
    """The two models, large and small; returns the size in bytes of the large ones."""
    for suffix, width, layers in (("", arguments.width, arguments.layers), ("-small", 64, 1)):
        config = LlamaConfig(
            vocab_size=32000 if not suffix else 64,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=max(width // 128, 2),
            num_key_value_heads=max(width // 512, 1),
            dtype=torch.bfloat16,
        )
        with torch.device("meta"):
            backbone = LlamaForCausalLM(config).to(torch.bfloat16)
        backbone.to_empty(device="cpu")
        backbone.save_pretrained(folder / f"backbone{suffix}", max_shard_size=arguments.shard)
        tower = SiglipVisionModel(
            SiglipVisionConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
        )
        model = WingsForCausalLM.from_backbones(backbone, tower, learner_rank=arguments.rank)
        model.save_pretrained(folder / f"wings{suffix}", max_shard_size=arguments.shard)
        del backbone, model
    sizes = {
        name: sum(path.stat().st_size for path in (folder / name).glob("*.safetensors"))
        for name in ("backbone", "wings")
    }
    return {**sizes, "files": sizes["wings"]}


def measure(folder: Path, sizes: dict[str, int], repeats: int) -> dict[str, dict[str, float]]:
    """Medians and extremes, by case."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
    for _ in range(repeats):
        for name in CASES:
            source = folder / ("wings" if name == "files" else name)
            command = [sys.executable, "-c", MEASURE, name, str(source)]
            runs[name].append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    results = {}
    for name, measured in runs.items():
        seconds = [run["seconds"] for run in measured]
        results[name] = {
            "bytes": sizes[name],
            "seconds": statistics.median(seconds),
            "seconds_min": min(seconds),
            "seconds_max": max(seconds),
            "bytes_per_second": sizes[name] / statistics.median(seconds),
            "peak_over_size": statistics.median(run["memory"] for run in measured) / sizes[name],
        }
    return results


def as_table(results: dict[str, dict[str, float]]) -> str:
    lines = [f"{'':10}{'GB':>7}{'s':>8}{'(min, max)':>16}{'GB/s':>8}{'x backbone':>12}{'peak / size':>13}"]
    base = results["backbone"]["bytes_per_second"]
    for name, row in results.items():
        spread = f"({row['seconds_min']:.2f}, {row['seconds_max']:.2f})"
        lines.append(
            f"{name:10}{row['bytes'] / 1e9:7.2f}{row['seconds']:8.2f}{spread:>16}{row['bytes_per_second'] / 1e9:8.2f}"
            f"{base / row['bytes_per_second']:12.2f}{row['peak_over_size']:13.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
