# The proxy. Build in the root of the repository: docker build -f deploy/proxy.Dockerfile -t crossfade-proxy .
# The first stage builds the wheel and its environment. The second contains only that environment,
# without sources and build tools. requirements/ has the versions of all packages.
FROM python:3.13-slim AS build
WORKDIR /src
# With a C compiler the data plane is compiled; without one it runs as Python, which is slower.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
COPY requirements/ requirements/
RUN python -m venv /opt/crossfade \
 && pip install --no-cache-dir --require-hashes --requirement requirements/build.txt \
 && /opt/crossfade/bin/pip install --no-cache-dir --require-hashes --requirement requirements/run.txt
COPY pyproject.toml setup.py README.md LICENSE ./
COPY proxy/ proxy/
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/crossfade/bin/pip install --no-cache-dir --no-deps /wheels/*.whl

FROM python:3.13-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/crossfade crossfade
COPY --from=build /opt/crossfade /opt/crossfade
COPY config/routing.yaml /etc/crossfade/routing.yaml
ENV PATH=/opt/crossfade/bin:$PATH
ENV PYTHONUNBUFFERED=1
USER 10001
WORKDIR /var/lib/crossfade
VOLUME /var/lib/crossfade
EXPOSE 8080 9901
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9901/readyz', timeout=2)"]
ENTRYPOINT ["crossfade"]
CMD ["run", "/etc/crossfade/routing.yaml"]
