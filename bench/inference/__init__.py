"""Benchmarks of the inference: ``python -m bench.inference [--json PATH]``.

Every figure is a ratio of two measurements of one run, taken alternately, because the machines
are noisy. All of it is real: the local W&B, the engine, the rehearsal's adapters and questions.

| figure              | what is divided by what                                         |
|---------------------|-----------------------------------------------------------------|
| ``of_offline_vllm``   | rows per second: whole Weave evaluation / vLLM's ``LLM.chat``      |
| ``of_tutorial_way``   | rows per second: the same / transformers, one row at a time      |
| ``parity``            | share of rows that vLLM and transformers answer alike, greedily  |
| ``warm_over_cold``    | seconds from link to first token: first version / second         |
| ``worker_mb``         | the GPU worker's largest resident memory, engine excluded        |
| ``four_together``     | seconds: four adapters one after another / side by side          |
| ``batched_retrieval`` | seconds: 60 questions one by one / in one batch                  |

``weighings`` measures the first five, ``together`` and ``retrieval`` one each. ``offline`` and
``tutorial`` are the programs with which a weighing is compared, on the same ``work``.
"""
