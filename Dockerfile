# README's two commands in an image, as a user without rights:
#
#   docker build --tag sentinel-tune .                                   # for CPUs
#   docker build --tag sentinel-tune --build-arg DEVICE=cuda .           # for CUDA; run it with --gpus all
#   docker run --rm --shm-size 2g --volume "$PWD:/work" sentinel-tune search
#
#   docker build --tag sentinel-tune-tests --target tests . && docker run --rm --shm-size 2g sentinel-tune-tests
#
# What runs writes to /work: mount a folder that user 1000 may write to. HF_TOKEN is given when it runs (--env HF_TOKEN),
# never when the image is built.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS installed
ARG DEVICE=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 1000 tuner && mkdir /work /opt/sentinel-tune && chown tuner /work /opt/sentinel-tune
# torch first: it is by far the largest, and stays when the code changes
RUN case "$DEVICE" in \
      cpu) index=https://download.pytorch.org/whl/cpu ;; \
      cuda) index=https://pypi.org/simple ;; \
      *) echo "DEVICE must be cpu or cuda, but got $DEVICE" >&2; exit 1 ;; \
    esac && pip install --no-cache-dir --index-url "$index" 'torch>=2.6' 'torchvision>=0.21'
WORKDIR /opt/sentinel-tune
COPY --chown=tuner . .
RUN pip install --no-cache-dir -e .

FROM installed AS tests
RUN pip install --no-cache-dir -e '.[dev]'
USER 1000
CMD ["pytest", "-n", "auto"]

FROM installed AS sentinel-tune
USER 1000
WORKDIR /work
ENTRYPOINT ["sentinel-tune"]
CMD ["search"]
