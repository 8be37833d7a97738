# EmoTalk on the CPU: one image for the command and the service.
#
#   docker build -t emotalk .
#   docker run --rm --read-only --tmpfs /tmp -v "$PWD:/work" --user "$(id -u):$(id -g)" emotalk generate me.jpg speech.mp3 happy
#   docker run --rm --read-only --tmpfs /tmp -v emotalk:/work -p 127.0.0.1:8000:8000 -e EMOTALK_TOKEN=secret \
#     emotalk serve --host 0.0.0.0 --folder /work

FROM python:3.12-slim AS build
RUN python -m venv /opt/emotalk
WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY emotalk ./emotalk
COPY emotalk_cli ./emotalk_cli
COPY weights ./weights
COPY examples ./examples
# PyTorch's own index has builds without CUDA, a tenth of the usual size; asked alone, so that no newer one is preferred
RUN /opt/emotalk/bin/pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch \
 && /opt/emotalk/bin/pip install --no-cache-dir '.[serve,voices,heic]' \
 && find /opt/emotalk -name __pycache__ -type d -prune -exec rm -r {} +

FROM python:3.12-slim
COPY --from=build /opt/emotalk /opt/emotalk
# everything that is written beside results lies in /tmp: a tmpfs where the container is read-only
ENV PATH=/opt/emotalk/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    NUMBA_CACHE_DIR=/tmp/numba \
    OMP_WAIT_POLICY=PASSIVE
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin emotalk \
 && install -d -o emotalk -g emotalk /work
USER emotalk
WORKDIR /work
VOLUME /work
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)" || exit 1
ENTRYPOINT ["emotalk"]
CMD ["--help"]
