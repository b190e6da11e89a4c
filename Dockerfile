# Two images:
#   producers   webhook and poller: the base install, without torch
#   worker      GPU worker, events worker and Flower
FROM python:3.11-slim AS producers
WORKDIR /app
COPY pyproject.toml README.md LICENSE weighbridge.py ./
COPY schemas schemas
COPY registry registry
COPY bus bus
COPY commands commands
COPY producers producers
RUN pip install --no-cache-dir . && useradd --create-home weighbridge
USER weighbridge
ENTRYPOINT ["weighbridge"]

FROM python:3.11-slim AS worker
WORKDIR /app
COPY pyproject.toml README.md LICENSE weighbridge.py ./
COPY schemas schemas
COPY registry registry
COPY bus bus
COPY commands commands
COPY engine engine
COPY application application
COPY worker worker
# gcc, because Triton and vLLM compile small kernels when they start.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/* \
 && pip install --no-cache-dir ".[worker,gpu]" && useradd --create-home weighbridge \
 && install --directory --owner weighbridge /home/weighbridge/.cache
USER weighbridge
ENTRYPOINT ["weighbridge"]
