# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`wings-hf train` on real parts and photos, by way of the converters in `examples/`.

Skipped where the data are not beside the project (`../shared/data`): a Llama of 260K parameters that writes stories,
MobileNetV2, easy-VQA and the Grocery Store photos.
"""

import json
import tarfile
from pathlib import Path

import pytest
import torch
from example_parts import example
from transformers import AutoModelForCausalLM, MobileNetV2ImageProcessorPil

from wings_hf.cli import main as cli
from wings_hf.data.records import read_records

PROJECT = Path(__file__).parents[2]
DATA = PROJECT.parent / "shared" / "data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the real models and photos are not at {DATA}"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data sets, converted, and MobileNetV2's image processor for whole images of 96 x 96."""
    folder = tmp_path_factory.mktemp("real")
    for name in ("easy_vqa", "grocery_store"):
        with tarfile.open(DATA / f"{name}.tar") as archive:
            archive.extractall(folder, filter="data")
    questions = example("easy_vqa_to_chat").convert(folder / "easy_vqa" / "data", "train", limit=60)
    (folder / "questions.json").write_text(json.dumps(questions))
    photos = example("grocery_store_to_chat").convert(folder / "grocery_store", "train", limit=100)
    (folder / "photos.jsonl").write_text("\n".join(map(json.dumps, photos)))
    size = {"height": 96, "width": 96}
    MobileNetV2ImageProcessorPil(size=size, do_center_crop=False).save_pretrained(folder / "processor")
    return folder


def test_converted_records_can_all_be_used(folder: Path) -> None:
    records, problems = read_records([folder / "questions.json", folder / "photos.jsonl"])
    assert not problems and len(records) == 60 + 100 + 25
    assert {len(record.images) for record in records} == {1, 2}


def test_a_short_run_learns(folder: Path, capfd: pytest.CaptureFixture) -> None:
    output = folder / "model"
    argv = ["train", "--text-model", str(DATA / "stories260K_hf"), "--vision-model", str(DATA / "mobilenet_v2_hf")]
    argv += ["--image-processor", str(folder / "processor"), "--output", str(output), "--learner-rank", "8"]
    argv += ["--data", str(folder / "questions.json"), str(folder / "photos.jsonl"), "--max-steps", "30"]
    argv += ["--max-length", "160", "--debug"]
    argv += ["--set", "stage2.learning_rate=1e-3", "stage2.learning_rates.language_model=3e-4"]
    assert cli.main(argv) == 0
    losses = [
        [entry["loss"] for entry in _log(output / f"{stage}-checkpoints") if "loss" in entry]
        for stage in ("align", "tune")
    ]
    assert losses[0][-1] < losses[0][0] and losses[1][-1] < losses[0][-1]

    before = AutoModelForCausalLM.from_pretrained(DATA / "stories260K_hf")
    aligned = AutoModelForCausalLM.from_pretrained(output / "align")
    story = torch.tensor([[1, 80, 200, 33, 47]])
    assert torch.equal(aligned(input_ids=story).logits, before(input_ids=story).logits), "stage 1 left text alone"

    photo = next((folder / "grocery_store" / "test").rglob("*.jpg"))
    capfd.readouterr()
    assert cli.main(["chat", str(output / "tune"), "--image", str(photo), "--prompt", "What is this?", "--debug"]) == 0
    assert capfd.readouterr().out.strip()


def _log(checkpoints: Path) -> list[dict]:
    (state,) = checkpoints.glob("*/trainer_state.json")
    return json.loads(state.read_text())["log_history"]
