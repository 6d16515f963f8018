"""A request's messages, text or ids to token ids, checked against the model's limits."""

from __future__ import annotations

from typing import Any

from jinja2.exceptions import TemplateError

from aquahost.engines.llm.detokenizer import Vocabulary
from aquahost.engines.llm.token_length import longest_token_text
from aquahost.errors import InvalidRequestError
from aquahost.messages.prompts import TextRequest


class PromptEncoder:
    """Knows the tokenizer, its chat template and the model's limits."""

    def __init__(
        self, tokenizer: Any, vocabulary: Vocabulary, *, vocabulary_size: int, max_context: int, limited_by: str = ""
    ) -> None:
        """`vocabulary_size`: rows of the model's embedding; `max_context`: tokens of input and output together;
        `limited_by`: what keeps the context below the model's own, for people."""
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._longest_token = longest_token_text(tokenizer)
        self._vocabulary_size = vocabulary_size
        self._max_context = max_context
        self._limited_by = f" ({limited_by})" if limited_by else ""

    def encode(self, request: TextRequest) -> tuple[list[int], str]:
        """Token ids of the request's input, and its text if the reply is to echo it.

        Raises InvalidRequestError that names the field.
        """
        if sum(value is not None for value in (request.messages, request.text, request.token_ids)) != 1:
            raise InvalidRequestError("give exactly one of messages, text and token_ids", param="prompt")
        if request.messages is not None:
            ids, param = self._encode_messages(request.messages), "messages"
        elif request.text is not None:
            ids, param = self._encode_text(request.text, "prompt", add_special_tokens=True), "prompt"
        else:
            ids, param = list(request.token_ids or []), "prompt"
        if not ids:
            raise InvalidRequestError("the prompt has no tokens", param=param)
        self._check_length(len(ids), param)
        self._check_ids(ids, param)
        echo = (request.text if request.text is not None else self._vocabulary.decode(ids)) if request.echo else ""
        return ids, echo

    def _encode_messages(self, messages: list[dict[str, Any]]) -> list[int]:
        if not messages:
            raise InvalidRequestError("messages is empty", param="messages")
        if getattr(self._tokenizer, "chat_template", None) is None:
            raise InvalidRequestError(
                "this model has no chat template; use completions (/v1/completions) with the text as it is",
                param="messages",
            )
        try:
            text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except (TemplateError, TypeError, KeyError, ValueError) as error:
            raise InvalidRequestError(
                f"the model's chat template does not take these messages: {error}", param="messages"
            ) from error
        return self._encode_text(text, "messages", add_special_tokens=False)

    def _encode_text(self, text: str, param: str, *, add_special_tokens: bool) -> list[int]:
        longest = self._longest_token
        if longest and len(text) > longest * self._max_context:  # surely too long: don't spend seconds on tokenising
            self._check_length(-(-len(text) // longest), param, at_least=True)
        try:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        except (UnicodeError, TypeError, ValueError) as error:
            raise InvalidRequestError(f"the text can't be tokenised: {error}", param=param) from error
        return ids

    def _check_ids(self, ids: list[int], param: str) -> None:
        """The model has an embedding for each; a tokenizer may have more tokens than that."""
        for token_id in (min(ids), max(ids)):
            if not 0 <= token_id < self._vocabulary_size:
                raise InvalidRequestError(
                    f"token {token_id} is outside the vocabulary of {self._vocabulary_size} tokens", param=param
                )

    def _check_length(self, tokens: int, param: str, *, at_least: bool = False) -> None:
        if tokens >= self._max_context:
            count = f"at least {tokens}" if at_least else str(tokens)
            raise InvalidRequestError(
                f"the prompt has {count} tokens; this model's context holds {self._max_context} tokens"
                f"{self._limited_by}, and at least one of them must be left for the reply",
                param=param,
                code="context_length_exceeded",
            )
