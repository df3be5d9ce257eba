# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Checkpoints, inputs and outputs of the authors' own code: converted with no option, they compute the same.

Skipped where the data are not beside the project (`../shared/reference`).
"""

from pathlib import Path

import pytest
import torch
from released_checkpoints import assert_identical, read_tensors
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from wings_hf.cli import main as cli

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
CASES = sorted(path.parent.name for path in REFERENCE.glob("*/model.safetensors"))
TOLERANCE = 2e-5

pytestmark = pytest.mark.skipif(not CASES, reason=f"the reference checkpoints are not at {REFERENCE}")


@pytest.mark.parametrize("case", CASES)
def test_there_and_back_and_the_same_logits(case, tmp_path, capsys):
    assert cli.main(["convert", str(REFERENCE / case), str(tmp_path / "wings"), "--debug"]) == 0
    assert "missing: none. unexpected: none." in capsys.readouterr().out
    assert cli.main(["convert", str(tmp_path / "wings"), str(tmp_path / "back"), "--to", "released", "--debug"]) == 0
    assert_identical(load_file(REFERENCE / case / "model.safetensors"), read_tensors(tmp_path / "back"))
    assert (tmp_path / "back/config.json").read_bytes() == (REFERENCE / case / "config.json").read_bytes()

    model, loading = AutoModelForCausalLM.from_pretrained(tmp_path / "wings", output_loading_info=True)
    assert not any(loading.values()), loading
    expected = load_file(REFERENCE / case / "io.safetensors")
    with torch.no_grad():
        logits = model.eval()(**_inputs(expected, model.config.image_token_id), use_cache=False).logits
    assert (logits - expected["logits"]).abs().max() < TOLERANCE


def _inputs(expected: dict[str, torch.Tensor], image_token_id: int) -> dict[str, torch.Tensor]:
    """`input_ids` with as many placeholders as features, and the tower's outputs."""
    row = expected["input_ids"][0]
    if not (row == -200).any():
        return {"input_ids": row[None]}
    place = int((row == -200).nonzero()[0])
    images = expected["images"]
    ids = torch.cat([row[:place], row.new_full((images.shape[1],), image_token_id), row[place + 1 :]])
    return {"input_ids": ids[None], "pixel_values": images}
