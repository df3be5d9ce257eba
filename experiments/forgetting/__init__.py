# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a language model forgets when it is given sight, by method of training: the experiment."""
