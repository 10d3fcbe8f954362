# Three images that share their largest layer, the Python packages:
#   server  the model server
#   demo    the server's image and what trains the demo's models
#   mlflow  the MLflow tracking server with PostgreSQL's driver
#
# The file keeps to what Docker's older builder understands, which docker-compose 1.29 may use.

# What the project requires, apart from setup.cfg's other sections: changing those installs nothing.
FROM python:3.13-slim AS requirements
COPY setup.cfg ./
RUN python -c "\
from configparser import ConfigParser; \
config = ConfigParser(); \
config.read('setup.cfg'); \
print(config['options']['install_requires'], config['options.extras_require']['sklearn'])\
" > requirements.txt


FROM python:3.13-slim AS packages
# tini reaps what models leave behind; LightGBM's package needs libgomp1.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 tini \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log
RUN groupadd --gid 10001 server \
    && useradd --uid 10001 --gid server --home-dir /tmp --no-create-home server
ENV HOME=/tmp \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1
WORKDIR /app
COPY constraints.txt ./
COPY --from=requirements requirements.txt ./
RUN pip install -c constraints.txt -r requirements.txt
STOPSIGNAL SIGTERM
LABEL org.opencontainers.image.licenses="Apache-2.0"


FROM packages AS server
# Packages that models import beside scikit-learn, separated by spaces.
ARG EXTRA_REQUIREMENTS=""
RUN if [ -n "$EXTRA_REQUIREMENTS" ]; then pip install -c constraints.txt $EXTRA_REQUIREMENTS; fi
COPY watcher watcher
COPY server server
# The modes of a checkout depend on its owner's umask.
RUN chmod -R a+rX . && python -m compileall -q server watcher
USER 10001:10001
EXPOSE 5001
# http.client, since urllib.request would ask a proxy if one is set.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "\
import http.client, os, sys; \
server = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 5001), timeout=4); \
server.request('GET', '/health'); \
answer = server.getresponse(); \
print(answer.read().decode()); \
sys.exit(answer.status != 200)"]
# -s: it reaps as well where another init is process 1.
ENTRYPOINT ["tini", "-s", "--", "python", "-m", "server"]
LABEL org.opencontainers.image.title="mlflow-live-server" \
      org.opencontainers.image.description="Serves one MLflow model and follows its Production version"


FROM server AS demo
USER root
COPY demo demo
RUN chmod -R a+rX demo && python -m compileall -q demo
USER 10001:10001
HEALTHCHECK NONE
ENTRYPOINT ["tini", "-s", "--", "python", "-m", "demo.training"]
LABEL org.opencontainers.image.title="mlflow-live-server-demo" \
      org.opencontainers.image.description="Trains and registers the demo's models"


FROM packages AS mlflow
RUN pip install -c constraints.txt psycopg2-binary
# A volume that is mounted here takes over the owner.
RUN install -d -o server -g server /artifacts
USER 10001:10001
EXPOSE 5000
ENTRYPOINT ["tini", "-s", "--", "mlflow"]
CMD ["server", "--host", "0.0.0.0"]
LABEL org.opencontainers.image.title="mlflow-live-server-mlflow" \
      org.opencontainers.image.description="MLflow tracking server with PostgreSQL's driver"
