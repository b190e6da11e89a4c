"""Runs vLLM's offline ``LLM.chat`` over given conversations, once per line of input.

``python -m bench.inference.offline WORK.json`` prints one JSON line when it is ready, and one more,
``{"seconds", "answers"}``, for each line that it reads.
"""

import json
import sys
import time
from pathlib import Path

from bench.inference.work import Work


def main(work: Work) -> None:
    """Load the model, then answer every conversation once for each line of standard input."""
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=str(work.checkpoint),
        max_model_len=work.max_model_len,
        enforce_eager=True,
        enable_prefix_caching=True,
        generation_config="vllm",
    )
    sampling = SamplingParams(temperature=0.0, max_tokens=work.max_tokens)
    _print_json({"ready": True})
    for _ in sys.stdin:
        engine.reset_prefix_cache()
        start = time.perf_counter()
        outputs = engine.chat(
            work.conversations,  # type: ignore[arg-type]  # a list of TypedDict
            sampling,
            use_tqdm=False,
            chat_template=work.chat_template,
        )
        seconds = time.perf_counter() - start
        _print_json(
            {"seconds": seconds, "answers": [output.outputs[0].text.strip() for output in outputs]}
        )


def _print_json(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(Work.model_validate_json(Path(sys.argv[1]).read_text()))
