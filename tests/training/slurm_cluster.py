"""A real Slurm in a temporary folder: one slurmctld, two slurmd on this machine as two nodes, and a munged of its own.

    python -m tests.training.slurm_cluster FOLDER

starts it and says what to export; an interrupt ends it. Debian's slurm-wlm lets several slurmd run on one machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.training.ranks import free_port

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "munged")
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=20
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=1000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why no Slurm can be started here, "" where it can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=paths()) is None]
    return f"Slurm: {', '.join(absent)} not installed (Debian: slurm-wlm, munge)" if absent else ""


def paths() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which commands reach a cluster of two idle nodes, n1 and n2, within the block."""
    folder = folder.resolve()
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir(parents=True)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    host, ports = socket.gethostname().split(".")[0], [free_port() for _ in range(3)]
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, host=host, user=user, ports=ports))
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": paths()}
    places = [
        f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "pid-file", "log-file", "seed-file")
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in (
            ["munged", "--force", "--foreground", f"--key-file={folder}/key", *places],
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D", "-N", "n1"],
            ["slurmd", "-D", "-N", "n2"],
        ):
            with (folder / f"{command[0]}.out").open("ab") as said:
                started.append(subprocess.Popen(command, env=environment, stdout=said, stderr=said))
            if command[0] == "munged":
                _until(lambda: (folder / "munge.socket").exists(), 20, folder)
        _until(lambda: run(["sinfo", "-h", "-o", "%T %D"], environment).split() == ["idle", "2"], 60, folder)
        yield environment
    finally:
        run(["scancel", "--user", user], environment, check=False)
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def run(command: Sequence[str | Path], environment: dict[str, str], check: bool = True) -> str:
    """What a command prints; an error where it fails, unless nobody wants to know."""
    ended = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    assert ended.returncode == 0 or not check, f"{command}: {ended.stderr}"
    return ended.stdout


def _until(there: object, seconds: float, folder: Path) -> None:
    assert callable(there)
    until = time.monotonic() + seconds
    while not there():
        if time.monotonic() > until:
            logs = "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in folder.glob("*.log"))
            raise TimeoutError(f"Slurm did not start:\n{logs}")
        time.sleep(0.2)


if __name__ == "__main__":
    with slurm(Path(sys.argv[1])) as variables:
        print(f"export SLURM_CONF={variables['SLURM_CONF']}", flush=True)
        signal.sigwait([signal.SIGINT, signal.SIGTERM])
