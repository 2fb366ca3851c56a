# Two stages: what builds stays in the first. Any base with Python 3.11 or newer will do; what it brings, a pip for example,
# stays in it.
ARG BASE_IMAGE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS build
# For builds behind a mirror: its index, and the certificate that vouches for it.
ARG PIP_INDEX_URL
ARG PIP_CERT
WORKDIR /src
COPY requirements.lock ./
RUN python3 -m venv /opt/wsproxy \
    && /opt/wsproxy/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY wsproxy ./wsproxy
RUN /opt/wsproxy/bin/pip install --no-cache-dir --no-deps . \
    && /opt/wsproxy/bin/pip uninstall --yes pip setuptools \
    && python3 -m compileall -q /opt/wsproxy/lib

FROM ${BASE_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="wsproxy" \
      org.opencontainers.image.description="A WebSocket reverse proxy that adds permessage-deflate to backends that never will have it" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/wsproxy /opt/wsproxy
COPY deploy/container/wsproxy.toml /etc/wsproxy/wsproxy.toml
# Nothing is written at run time, so the root file system may be read-only.
ENV PATH=/opt/wsproxy/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    WSPROXY_CONFIG=/etc/wsproxy/wsproxy.toml
USER 65532:65532
EXPOSE 8080 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/opt/wsproxy/bin/wsproxy", "health"]
# A sidecar needs WSPROXY_UPSTREAM alone; a gateway mounts its file over /etc/wsproxy/wsproxy.toml.
ENTRYPOINT ["/opt/wsproxy/bin/wsproxy"]
CMD ["run"]
