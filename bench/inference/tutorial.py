"""Runs transformers' ``generate`` for one row after another, as the tutorial does.

``python -m bench.inference.tutorial WORK.json`` prints ``{"seconds", "answers"}``.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from bench.inference.work import Work


def main(work: Work) -> None:
    """Load the model and answer every conversation."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    tokenizer = AutoTokenizer.from_pretrained(work.checkpoint)
    model: Any = AutoModelForCausalLM.from_pretrained(work.checkpoint, dtype="auto")

    def answer(conversation: list[dict[str, str]]) -> str:
        prompt: Any = tokenizer.apply_chat_template(
            conversation,
            chat_template=work.chat_template,
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        generated = model.generate(**prompt, max_new_tokens=work.max_tokens, do_sample=False)
        new = generated[0, prompt["input_ids"].shape[1] :]
        return str(tokenizer.decode(new, skip_special_tokens=True)).strip()

    answer(work.conversations[0])  # warm
    start = time.perf_counter()
    answers = [answer(conversation) for conversation in work.conversations]
    print(json.dumps({"seconds": time.perf_counter() - start, "answers": answers}), flush=True)


if __name__ == "__main__":
    main(Work.model_validate_json(Path(sys.argv[1]).read_text()))
