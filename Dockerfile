# The bridge as a container: python:slim, one virtual environment, no compiler, no root.
#
# Mount a volume at /data. The first start writes /data/config.yaml, the second (once that is
# edited) /data/registration.yaml, every further one serves; see bridge/cli/program.py.

FROM python:3.13-slim AS build
WORKDIR /src
# Versions and hashes of all that is installed: `make lock` chooses them anew.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock \
    && python -m venv --without-pip /opt/bridge \
    && /opt/build/bin/pip --python /opt/bridge install --no-cache-dir --only-binary :all: \
        --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY bridge ./bridge
# And what is in it, for scanners (CycloneDX); `make wheel` writes the same beside the wheel.
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/bridge install --no-cache-dir --no-deps /wheels/*.whl \
    && /opt/build/bin/python -m cyclonedx_py environment --output-reproducible \
        --output-file /opt/bridge/sbom.cdx.json /opt/bridge/bin/python

FROM python:3.13-slim
# `make image` fills in the first two.
ARG VERSION="" REVISION="" SOURCE=""
LABEL org.opencontainers.image.title="matrix-webchat-bridge" \
      org.opencontainers.image.description="Carries Matrix rooms to an EliteCRM WebChat call centre" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="python:3.13-slim" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"
RUN groupadd --gid 1337 bridge \
    && useradd --uid 1337 --gid 1337 --no-create-home --home-dir /data bridge \
    && install --directory --owner=1337 --group=1337 /data
COPY --from=build /opt/bridge /opt/bridge
ENV PATH=/opt/bridge/bin:$PATH \
    PYTHONUNBUFFERED=1
WORKDIR /data
VOLUME /data
USER 1337:1337
EXPOSE 29340 29341 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:29340/_matrix/mau/live', timeout=4)"]
ENTRYPOINT ["matrix-webchat"]
CMD ["container"]
