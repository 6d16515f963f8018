"""From a prompt as it came to a sequence that can be scheduled."""

from __future__ import annotations

from aquahost.engines.llm.engine_parts import EngineParts
from aquahost.engines.llm.sampler import SamplerState
from aquahost.engines.llm.sampling_rules import check_sampling
from aquahost.engines.llm.sequence import Sequence
from aquahost.engines.llm.stopping import StopStrings
from aquahost.errors import InvalidRequestError
from aquahost.messages.prompts import Prompt, TextRequest
from aquahost.scheduling.prompt import ScheduledPrompt


def make_sequence(prompt: Prompt, parts: EngineParts) -> Sequence:
    """Tokenise a prompt; one that another worker began stands where that one had got.

    Raises InvalidRequestError, naming the field, if it can't be served.
    """
    request = prompt.request
    if not isinstance(request, TextRequest):
        raise InvalidRequestError(f"{prompt.model} is a language model; it takes text", param="model")
    sampling = request.sampling
    check_sampling(sampling, parts.vocabulary_size)
    ids, echo = parts.encoder.encode(request)
    room = parts.footprint.max_context - len(ids)
    most = len(ids) + (room if sampling.max_tokens is None else min(sampling.max_tokens, room))
    tokens = len(ids) + len(prompt.produced_ids)
    if tokens >= most:
        raise InvalidRequestError(
            f"the reply stood at {tokens} tokens when its worker ended, and there is KV memory for {most} now",
            code="context_length_exceeded",
        )
    sequence = Sequence(
        scheduled=ScheduledPrompt(
            id=prompt.id,
            tenant=prompt.tenant,
            weight=prompt.weight,
            level=prompt.priority,
            tokens=tokens,
            max_tokens=most,
        ),
        token_ids=ids,
        input_tokens=len(ids),
        end_ids=frozenset() if sampling.ignore_eos else parts.end_ids,
        sampler=SamplerState(sampling, ids, parts.vocabulary_size, parts.device.torch_device),
        detokenizer=parts.vocabulary.detokenizer(ids),
        stops=StopStrings(sampling.stop),
        echo="" if prompt.produced_ids else echo,
    )
    sequence.replay(prompt.produced_ids)
    return sequence
