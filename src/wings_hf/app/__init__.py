# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A page on which people talk to a Wings model with pictures, and see what router and attention did for each answer.

kept_cache    the model's cache of one conversation, kept from turn to turn (`wings-hf chat` uses it, too)
engine        a loaded model: encodes conversations, streams answers, can be stopped
explain       router weights and attention over the pictures for each token of an answer
conversation  what was said and shown; pictures.py reads what users upload, within limits
controller    what the page's buttons do, without the page
panel         what the router and the attention did, as HTML
page          the layout, in Gradio: the only module that imports it, with launch.py
zero_gpu      the same on Hugging Face's ZeroGPU, where each answer is computed in a process of its own
"""
