# All versions of the churn model in one image; CROSSFADE_MODEL_VERSION selects the version to serve.
# Build in the root of the repository: docker build -f deploy/backends.Dockerfile -t crossfade-backends .
# The first stage builds the wheel and its environment, the second trains the models, and the third
# contains the results of both. The models are in the image, so that the tested models are the ones that run.
# requirements/ has the versions of all packages; those of the extra `edge` load versions for devices.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/ requirements/
RUN python -m venv /opt/backends \
 && pip install --no-cache-dir --require-hashes --requirement requirements/build.txt \
 && /opt/backends/bin/pip install --no-cache-dir --require-hashes --requirement requirements/models.txt --requirement requirements/edge.txt
COPY pyproject.toml README.md LICENSE ./
COPY backends/ backends/
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/backends/bin/pip install --no-cache-dir --no-deps /wheels/*.whl

FROM build AS models
WORKDIR /
RUN /opt/backends/bin/python -m crossfade_backends.train --registry /models

FROM python:3.13-slim
RUN useradd --system --uid 10002 --no-create-home backends
COPY --from=build /opt/backends /opt/backends
COPY --from=models /models /models
ENV PATH=/opt/backends/bin:$PATH
ENV PYTHONUNBUFFERED=1
ENV CROSSFADE_MODEL_REGISTRY=/models
ENV CROSSFADE_MODEL_HOST=0.0.0.0
ENV CROSSFADE_MODEL_PORT=8000
USER 10002
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=2)"]
ENTRYPOINT ["python", "-m", "crossfade_backends.server"]
