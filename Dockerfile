# emeraldcut in a small image, run by a user who is not root.
#   docker build --tag emeraldcut .
#   docker run --rm --volume "$PWD:/work" emeraldcut screen cutouts/ --output run
#   docker run --rm --volume "$PWD:/work" emeraldcut demo --output demo
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --find-links /wheels 'emeraldcut[review,search]' && rm -r /wheels \
    && useradd --create-home --uid 1000 astronomer && mkdir /work && chown astronomer /work
USER astronomer
# Compiled code is kept here; mount a volume to keep it from one run to the next.
ENV EMERALDCUT_CACHE_DIR=/home/astronomer/.cache/emeraldcut PYTHONDONTWRITEBYTECODE=1
WORKDIR /work
ENTRYPOINT ["emeraldcut"]
CMD ["--help"]
