"""A model version in memory that generates chat completions with transformers."""

import time
from typing import Any
from uuid import uuid4

import torch
from jinja2 import TemplateError
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice
from pydantic import BaseModel, ConfigDict, Field
from transformers import AutoTokenizer

from engine import transformers_loading
from engine.transformers_loading import VersionFiles


class Message(BaseModel):
    """One message of a conversation; the template may use additional fields."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: str


class ChatRequest(BaseModel):
    """A chat completion request; unknown options are refused, not ignored.

    Attributes:
        model: Any name; the answer repeats it.
        messages: The conversation so far.
        max_tokens: Longest answer, in tokens.
        temperature: 0 is greedy; otherwise the whole distribution is sampled.
        chat_template: The Jinja template of the prompt; None means the tokenizer's own.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    messages: list[Message] = Field(min_length=1)
    max_tokens: int = Field(gt=0)
    temperature: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    chat_template: str | None = None


class UnanswerableError(Exception):
    """The request is invalid for the loaded version."""


class TransformersModel:
    """A loaded version.

    Args:
        files: The version's folders.
        max_model_len: Longest prompt plus answer, in tokens; None means the limit in the model's
            configuration.

    Attributes:
        fingerprint: Digest of the weights in memory.

    Raises:
        ArtifactError: Some weights are missing or have another shape.
    """

    def __init__(self, files: VersionFiles, max_model_len: int | None) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(
            files.tokenizer, local_files_only=True, trust_remote_code=files.trust_remote_code
        )
        self._model = transformers_loading.load(files)
        self._stops = _stop_tokens(self._model.generation_config.eos_token_id, self._tokenizer)
        self._longest = max_model_len or _longest(self._model.config, self._tokenizer)
        self.fingerprint = transformers_loading.fingerprint(self._model)

    @torch.inference_mode()
    def answer(self, request: ChatRequest) -> ChatCompletion:
        """Generate a chat completion.

        Raises:
            UnanswerableError: The conversation is too long, or the template cannot be rendered.
        """
        prompt = self._prompt(request).to(self._model.device)
        length = prompt.shape[1]
        self._check_length(length, request.max_tokens)
        sequences = self._model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=request.max_tokens,
            eos_token_id=self._stops,
            pad_token_id=self._stops[0] if self._stops else None,
            **_sampling(request.temperature),
        )
        return self._completion(request.model, length, sequences[0, length:].tolist())

    def _prompt(self, request: ChatRequest) -> torch.Tensor:
        """The prompt's token ids, (1, length)."""
        try:
            encoded = self._tokenizer.apply_chat_template(
                [message.model_dump() for message in request.messages],
                chat_template=request.chat_template,
                add_generation_prompt=True,
                return_tensors="pt",
                return_dict=True,
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise UnanswerableError(f"The chat template cannot be rendered: {error}") from error
        ids: torch.Tensor = encoded["input_ids"]
        return ids

    def _check_length(self, prompt: int, answer: int) -> None:
        if prompt + answer > self._longest:
            raise UnanswerableError(
                f"This model's maximum context length is {self._longest} tokens. However, you "
                f"requested {answer} output tokens and your prompt contains {prompt} input tokens, "
                f"for a total of {prompt + answer} tokens. Please reduce the length of the input "
                "prompt or the number of requested output tokens."
            )

    def _completion(self, name: str, prompt: int, tokens: list[int]) -> ChatCompletion:
        text = self._tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        choice = Choice(
            index=0,
            finish_reason="stop" if tokens[-1] in self._stops else "length",
            message=ChatCompletionMessage(role="assistant", content=text),
        )
        usage = CompletionUsage(
            prompt_tokens=prompt, completion_tokens=len(tokens), total_tokens=prompt + len(tokens)
        )
        return ChatCompletion(
            id=f"chatcmpl-{uuid4().hex}",
            object="chat.completion",
            created=int(time.time()),
            model=name,
            choices=[choice],
            usage=usage,
        )


def _stop_tokens(configured: list[int] | int | None, tokenizer: Any) -> list[int]:
    """The ids that end an answer: those of the tokenizer and of generation_config.json."""
    named = configured if isinstance(configured, list) else [configured]
    ids = [tokenizer.eos_token_id, *named]
    return list(dict.fromkeys(stop for stop in ids if stop is not None))


def _longest(config: Any, tokenizer: Any) -> int:
    """Longest prompt plus answer; practically unlimited for models without positions."""
    length: int = getattr(
        config.get_text_config(), "max_position_embeddings", tokenizer.model_max_length
    )
    return length


def _sampling(temperature: float) -> dict[str, Any]:
    if temperature == 0:
        return {"do_sample": False}
    return {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
