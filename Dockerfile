# syntax=docker/dockerfile:1
# The service, its worker and every command of searec, on CPUs. No secret is needed to build it, and none is in it.

FROM python:3.12-slim-bookworm AS dependencies
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/searec
ENV PATH=/opt/searec/bin:$PATH
WORKDIR /build
COPY constraints.txt ./
# from PyTorch's own index, whose builds carry no GPU libraries (PyPI's bring gigabytes of them)
RUN pip install --index-url https://download.pytorch.org/whl/cpu --constraint constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
# an empty package brings what searec needs, so that a change of the source leaves this layer as it is
RUN mkdir -p src/searec && touch src/searec/__init__.py \
    && pip install --constraint constraints.txt '.[dense,generative,serendipity,nearline,service,postgres,chat,fusion]' \
    && pip uninstall --yes searec

FROM dependencies AS wheel
COPY src src
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm
# curl: for the health check and for retrain.sh
RUN apt-get update && apt-get install --yes --no-install-recommends curl && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --home-dir /var/lib/searec --shell /usr/sbin/nologin searec \
    && install --directory --owner=searec --group=searec --mode=0750 /var/lib/searec
COPY --from=dependencies /opt/searec /opt/searec
ENV PATH=/opt/searec/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SEAREC_CACHE=/var/lib/searec/cache
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels pip install --no-cache-dir --no-deps /wheels/searec-*.whl
COPY --chmod=0755 deploy/retrain.sh /usr/local/bin/searec-retrain
USER 10001:10001
WORKDIR /var/lib/searec
# 8000: the service; 9100: the worker's metrics
EXPOSE 8000 9100
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s --retries=3 CMD ["curl", "-fsS", "http://127.0.0.1:8000/healthz"]
ENTRYPOINT ["searec"]
CMD ["--help"]
