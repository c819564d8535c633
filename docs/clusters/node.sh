# What a login shell on a cluster's node knows, and so Ray, its workers and the jobs that are started from one.
# shellcheck disable=SC1090
# `ray up` puts a line into ~/.bashrc that reads this file.
if [ -r ~/sentinel-tune-env/bin/activate ]; then . ~/sentinel-tune-env/bin/activate; fi   # images bring their own Python
export RAY_AUTH_MODE=token             # nobody without ~/.ray/auth_token may use this Ray
export RAY_USAGE_STATS_ENABLED=0
export RAY_ADDRESS=auto                # `ray submit` and `ray exec` join the cluster instead of starting a Ray of their own
export RAY_JOB_STOP_SIGNAL=SIGINT      # `ray job stop` lets a search finish its running epochs and write up,
export RAY_JOB_STOP_WAIT_TIME_S=600    # and ends it by force after so many seconds
# Keys and passwords (AWS_*, HF_TOKEN, an MLFLOW_TRACKING_URI with a password) come from a file on the node, mode 600, one
# NAME=VALUE a line: in the environment of Ray, and in no job's description.
if [ -r ~/sentinel-tune-secrets ]; then
    set -a
    . ~/sentinel-tune-secrets
    set +a
fi
