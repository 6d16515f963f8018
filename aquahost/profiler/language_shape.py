"""A language model's shape, read off the model itself, which is built from its config on torch's meta device."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aquahost.config.settings import ModelSettings
from aquahost.engines.dtypes import choose_dtype
from aquahost.engines.llm.geometry import discover
from aquahost.engines.llm.paged_attention import ATTENTION_NAME, register
from aquahost.engines.llm.refusals import check_config
from aquahost.engines.llm.weights import stored_dtype
from aquahost.engines.quiet import quiet_transformers
from aquahost.errors import LoadError
from aquahost.profiler.language_costs import LanguageShape

META = torch.device("meta")
_NO_LIMIT_TOKENS = 1 << 20
"""Taken for a model's context where its config states none."""
_EXPERT_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_EXPERTS_EACH = ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_topk", "top_k_experts")
_EXPERTS = "experts"
"""The module that holds a layer's experts, in all of transformers' mixtures; those that all tokens go through
("shared_experts") are no part of it."""


def read_language_shape(folder: Path, settings: ModelSettings) -> LanguageShape:
    """The shape of the model whose config.json lies in `folder`; takes a second. Raises LoadError saying why the model
    can't be served or its config can't be used."""
    from transformers import AutoConfig, AutoModelForCausalLM

    quiet_transformers()
    register()
    trust = settings.trust_remote_code
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
        dtype = choose_dtype(settings, META, stored_dtype(config))
        known = type(config) in AutoModelForCausalLM._model_mapping
        check_config(config, AutoModelForCausalLM._model_mapping[type(config)] if known else None)
        build: Any = AutoModelForCausalLM.from_config
        with META:
            model = build(config, dtype=dtype, attn_implementation=ATTENTION_NAME, trust_remote_code=trust)
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError, RuntimeError) as error:
        raise LoadError(f"{folder}/config.json can't be used: {error}") from error
    return _shape_of(model.eval(), dtype)


def _shape_of(model: Any, dtype: torch.dtype) -> LanguageShape:
    config = model.config
    geometry = discover(model, META)
    head = model.get_output_embeddings().weight
    tables = {id(part.weight): part.weight for part in model.modules() if isinstance(part, nn.Embedding)}
    experts = _first(config, _EXPERT_COUNTS)
    of_experts = [p for name, p in model.named_parameters() if _EXPERTS in name.split(".")] if experts else []
    inner = [p for p in model.parameters() if p.dim() > 1 and id(p) not in tables and p is not head]
    return LanguageShape(
        parameters=sum(p.numel() for p in model.parameters()),
        looked_up=sum(table.numel() for table in tables.values() if table is not head),
        head=head.numel(),
        expert_parameters=sum(p.numel() for p in of_experts),
        experts=experts if of_experts else 0,
        experts_each=(_first(config, _EXPERTS_EACH) or 1) if of_experts else 0,
        layers=geometry.layers,
        heads=geometry.heads,
        kv_heads=geometry.kv_heads,
        head_dim=geometry.head_dim,
        hidden=head.shape[-1],
        widest=max(max(p.shape[-2:]) for p in inner),
        vocabulary=head.shape[0],
        context_tokens=_first(config, ("max_position_embeddings",)) or _NO_LIMIT_TOKENS,
        dtype=str(dtype).removeprefix("torch."),
        dtype_bytes=dtype.itemsize,
    )


def _first(config: Any, names: tuple[str, ...]) -> int:
    """The first of these attributes that is a positive number; else 0."""
    values = (getattr(config, name, None) for name in names)
    return next((int(v) for v in values if isinstance(v, int | float) and math.isfinite(v) and v > 0), 0)
