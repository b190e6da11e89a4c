"""Compares four adapters of one base one after another with the same four side by side.

``python -m bench.inference.together FOLDER`` prints the figures as one JSON line.
"""

import asyncio
import json
import sys
import time
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

from engine import Engine, ServedModel, ServeOptions
from rehearsal import climate
from rehearsal.base_model import base_model, models_dir
from schemas.settings import Settings

_ADAPTERS = ("good", "worse", "better", "good")
_ROWS = 4
_MAX_TOKENS = 32


def measure(folder: Path) -> dict[str, object]:
    """Measure both on the same engine.

    Returns:
        ``four_together`` and the seconds behind it, and the seconds of one adapter each way: its
        cost beside the base's weights, and merged into them.
    """
    settings = Settings(run_dir=folder, models_dir=models_dir(), side_by_side=len(_ADAPTERS))
    engine = Engine(settings)
    try:
        engine.ensure(base_model())
        adapters = [_copy(name, number, folder) for number, name in enumerate(_ADAPTERS)]
        _one_after_another(engine, adapters[:1])  # warm
        _side_by_side(engine, adapters[:1])
        figures = {
            "one_after_another_s": _one_after_another(engine, adapters),
            "side_by_side_s": _side_by_side(engine, adapters),
            "one_merged_s": _one_after_another(engine, adapters[:1]),
            "one_beside_s": _side_by_side(engine, adapters[:1]),
        }
    finally:
        engine.stop()
    ratio = figures["one_after_another_s"] / figures["side_by_side_s"]
    return {"four_together": ratio, **figures}


def _copy(name: str, number: int, folder: Path) -> Path:
    """Copy an adapter with one changed file, because equal files would be one version."""
    copy = folder / "adapters" / str(number)
    copy.mkdir(parents=True)
    for file in Path(str(files("rehearsal") / "adapters" / name)).iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "README.md").write_text(f"copy {number}")
    return copy


def _one_after_another(engine: Engine, adapters: list[Path]) -> float:
    start = time.perf_counter()
    for folder in adapters:
        with engine.serve(folder, folder.name) as model:
            asyncio.run(_answer([model]))
    return time.perf_counter() - start


def _side_by_side(engine: Engine, adapters: list[Path]) -> float:
    start = time.perf_counter()
    with ExitStack() as served:
        models = [
            served.enter_context(
                engine.serve(folder, folder.name, options=ServeOptions(concurrent=True))
            )
            for folder in adapters
        ]
        asyncio.run(_answer(models))
    return time.perf_counter() - start


async def _answer(models: list[ServedModel]) -> None:
    """Answer every row with every model, all at once."""
    rows = climate.questions()[:_ROWS]
    passages = {passage.id: passage.text for passage in climate.passages()}
    prompts = climate.prompts()
    conversations = [
        [
            {"role": "system", "content": prompts.system},
            {
                "role": "user",
                "content": prompts.user.format(
                    context="\n\n".join(passages[gold] for gold in row.passages),
                    question=row.question,
                ),
            },
        ]
        for row in rows
    ]
    await asyncio.gather(
        *(
            model.chat(conversation, temperature=0.0, max_tokens=_MAX_TOKENS)
            for model in models
            for conversation in conversations
        )
    )


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
