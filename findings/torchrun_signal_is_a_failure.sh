#!/bin/sh
# torch 2.13.0, `torchrun` that is sent SIGTERM while its workers train, as a scheduler does before it takes a machine
# away. The workers write a checkpoint and end with 0.
#
# Guess: torchrun hands the signal on and ends with what its workers end with.
# Behaviour: it hands the signal on and waits, and then raises SignalException and ends with 1, though every worker has
# ended with 0. A scheduler takes the clean stop for a failure.
#
# Seen:
#   workers: finished 0, finished 1
#   torchrun: exit 1, SignalException: True
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q torch==2.13.0
cd "$place"
cat > worker.py <<'PY'
import os
import signal
import sys
import time

def stop(number, frame):
    open(f"finished {os.environ['RANK']}", "w").close()
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
open(f"started {os.environ['RANK']}", "w").close()
time.sleep(120)
sys.exit(3)
PY
"$place/venv/bin/python" - <<'PY'
import glob, os, signal, subprocess, sys, time

torchrun = os.path.join(os.path.dirname(sys.executable), "torchrun")
agent = subprocess.Popen([torchrun, "--standalone", "--nproc_per_node=2", "worker.py"], stderr=subprocess.PIPE, text=True)
while len(glob.glob("started *")) < 2:
    time.sleep(0.1)
agent.send_signal(signal.SIGTERM)
said = agent.communicate(timeout=100)[1]
print(f"workers: {', '.join(sorted(glob.glob('finished *')))}")
print(f"torchrun: exit {agent.returncode}, SignalException: {'SignalException' in said}")
assert len(glob.glob("finished *")) == 2 and agent.returncode == 1 and "SignalException" in said
PY
