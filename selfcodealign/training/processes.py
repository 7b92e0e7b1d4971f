"""One process or many: what the launcher must have set, set here when there is no launcher."""

import ctypes
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from selfcodealign.errors import UserError

PORT = 29_500
"""Where the processes of several nodes meet; the first node listens there."""

JOB = ("SLURM_JOB_ID", "SLURM_CONF")
"""What a step within a step needs to know of the outer one."""


def launcher(
    processes: int, nodes: int, environment: Mapping[str, str], *, hosts: Sequence[str] = (), container: str = ""
) -> list[str] | None:
    """Return the command that must start the script, or None when the current process is already the right one.

    One process needs no launcher. Several on one node get torchrun; several nodes get one torchrun each through srun,
    meeting at the first of the job's `hosts`. srun is a program of the host, so with several nodes it is the launcher
    that enters the `container`: a command such as `apptainer exec IMAGE`, which starts the Python in it.

    Raises:
        UserError: the script was started by a launcher with another number of processes than the config asks for, or
            several nodes are asked for outside a SLURM job.
    """
    wanted = processes * nodes
    if "WORLD_SIZE" in environment:
        running = int(environment["WORLD_SIZE"])
        if running != wanted:
            raise UserError(
                f"the launcher started {running} processes but the config asks for {nodes} node(s) × {processes}: "
                "make train_sft.nodes and train_sft.processes agree with the launcher"
            )
        return None
    if wanted == 1:
        return None
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    if nodes == 1:
        return [*torchrun, "--standalone"]
    if not hosts:
        raise UserError(
            f"train_sft.nodes is {nodes}, but this is no SLURM job (SLURM_JOB_NODELIST is not set): run with the slurm "
            "profile, or set train_sft.nodes to 1"
        )
    meeting = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{hosts[0]}:{PORT}"]
    job = ["--rdzv-id", environment.get("SLURM_JOB_ID", "0")]
    if container:
        torchrun = [*shlex.split(container), "python", *torchrun[1:]]
    step = ["srun", "--overlap", "--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1"]
    return [*step, *torchrun, *meeting, *job]


def handed_down(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for srun: of what SLURM has set only which job this is.

    Snakemake runs a job in a step of one task on one node; srun would take that for the job's size.
    """
    return {key: value for key, value in environment.items() if not key.startswith("SLURM_") or key in JOB}


def slurm_hosts(environment: Mapping[str, str]) -> list[str]:
    """List the addresses of the nodes of the SLURM job this process runs in; none outside a job.

    A node's address is how the nodes reach each other; its name need not be one that they can look up.
    """
    nodes = environment.get("SLURM_JOB_NODELIST")
    if not nodes or not shutil.which("scontrol"):
        return []
    command = ["scontrol", "--oneliner", "show", "node", nodes]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    return re.findall(r"\bNodeAddr=(\S+)", shown.stdout)


def relaunch_if_needed(processes: int, nodes: int, container: str = "") -> None:
    """Replace this process by a launcher of the right number of processes, unless it is one of them already."""
    command = launcher(processes, nodes, os.environ, hosts=slurm_hosts(os.environ), container=container)
    if command is not None:
        os.execvpe(command[0], [*command, *sys.argv], handed_down(os.environ))


def prepare(cache: Path) -> None:
    """Set what torch and DeepSpeed read from the environment; call before either is imported.

    Args:
        cache: folder for compiled extensions, so that none is ever built twice or waited for in a shared home.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        # One thread a process: the bytes of the result must not depend on how many cores a machine has.
        torch.set_num_threads(1)
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(cache))
    os.environ.setdefault("DS_LOG_LEVEL", "warning")
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_launcher()
    if "WORLD_SIZE" not in os.environ:
        # Without a launcher DeepSpeed would look for MPI.
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        # Port 0 lets the system choose at the moment of listening: two jobs of one machine can never collide.
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}


def die_with_launcher() -> None:
    """Ask Linux to kill this process when the launcher dies, however it dies.

    Otherwise a killed launcher leaves its processes training, and writing checkpoints beside those of the next run.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def join_deepspeed() -> None:
    """Join the group of processes; ZeRO-3 already spreads the model while it is loaded.

    DeepSpeed is kept from compiling its shared-memory collectives on a CPU, which takes a minute at the first start:
    it uses them for inference only (`inference_all_reduce`), and a build that was killed leaves a lock on which every
    later start would wait.
    """
    import deepspeed
    import torch

    cpu = not torch.cuda.is_available()
    if cpu:
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo" if cpu else "nccl", auto_mpi_discovery=False, verbose=False)


def process_number() -> int:
    """Return the number of this process among all."""
    return int(os.environ.get("RANK", "0"))


def process_count() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leave() -> None:
    """Leave the group of processes, so that none waits for this one."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
