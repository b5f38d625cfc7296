# A saved model over HTTP: docs/user_guide/serving.rst says how to run it.
FROM python:3.12-slim

# PyTorch's build for the CPU is a tenth of the size of that for GPUs. Its installation guide has the
# option that chooses it: docker build --build-arg TORCH="torch --index-url ..." .
ARG TORCH=torch
RUN pip install --no-cache-dir $TORCH

WORKDIR /src
COPY pyproject.toml README.rst LICENSE ./
COPY skxmc ./skxmc
RUN pip install --no-cache-dir ".[offline,serve]" && rm -rf /src/*

RUN useradd --create-home --uid 10001 skxmc
USER skxmc
WORKDIR /home/skxmc

# A saved model holds its text encoder: nothing is fetched while it serves.
ENV HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["skxmc", "serve"]
CMD ["/model", "--host", "0.0.0.0"]
