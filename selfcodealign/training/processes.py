"""One process or many: what the launcher must have set, set here when there is no launcher."""

import ctypes
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from selfcodealign.errors import UserError

PORTS = range(20_000, 32_000)
"""Where the processes of several nodes may meet, below the ports that Linux hands out by itself."""

SHUTDOWN_S = 3_600
"""Seconds that a step in progress may take after SIGTERM; torchrun's own 30 would lose it."""

JOB = ("SLURM_JOB_ID", "SLURM_CONF")
"""What a step within a step needs to know of the outer one."""


def launcher(
    processes: int,
    nodes: int,
    environment: Mapping[str, str],
    *,
    hosts: Sequence[str] = (),
    container: str = "",
    run: str = "",
) -> list[str] | None:
    """Return the command that must start the script, or None when the current process is already the right one.

    One process needs no launcher. Several on one node get torchrun; several nodes get one torchrun each through srun,
    meeting at the first of the job's `hosts`, at a port that follows from the job and the `run` (its work folder), so
    that two trainings never meet each other. srun is a program of the host, so with several nodes it is the launcher
    that enters the `container`: a command such as `apptainer exec IMAGE`, which starts the Python in it.

    Raises:
        UserError: the script was started by a launcher with another number of processes than the config asks for, or
            several nodes are asked for outside a SLURM job.
    """
    wanted = processes * nodes
    if "TORCHELASTIC_RUN_ID" in environment or {"RANK", "WORLD_SIZE"} <= environment.keys():
        running = int(environment.get("WORLD_SIZE", "1"))
        if running != wanted:
            raise UserError(
                f"the launcher started {running} processes but the config asks for {nodes} node(s) × {processes}: "
                "make nodes and processes in its section of the config agree with the launcher"
            )
        return None
    if wanted == 1:
        return None
    torchrun = [sys.executable, "-m", "selfcodealign.training.launch", "--nproc-per-node", str(processes)]
    torchrun += ["--shutdown-timeout", str(SHUTDOWN_S)]
    if nodes == 1:
        # `--standalone` would meet at the machine's own name, which not every network can look up.
        return [*torchrun, "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    if not hosts:
        raise UserError(
            f"train_sft.nodes is {nodes}, but this is no SLURM job (SLURM_JOB_NODELIST is not set): run with the slurm "
            "profile, or set train_sft.nodes to 1"
        )
    name = f"{environment.get('SLURM_JOB_ID', '0')}-{run}"
    port = PORTS[zlib.crc32(name.encode()) % len(PORTS)]
    meeting = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{hosts[0]}:{port}"]
    job = ["--rdzv-id", str(zlib.crc32(name.encode()))]
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


def relaunch_if_needed(processes: int, nodes: int, container: str = "", run: str = "") -> None:
    """Replace this process by a launcher of the right number of processes, unless it is one of them already.

    Args:
        processes: processes on each node.
        nodes: machines.
        container: command with which srun enters a container; empty for none.
        run: work folder of the training.
    """
    command = launcher(processes, nodes, os.environ, hosts=slurm_hosts(os.environ), container=container, run=run)
    if command is not None:
        os.execvpe(command[0], [*command, *sys.argv], handed_down(os.environ))


def prepare(cache: Path) -> None:
    """Set what torch and DeepSpeed read from the environment; call before either is imported.

    Args:
        cache: folder for compiled extensions, so that none is ever built twice or waited for in a shared home.
    """
    # accelerate reads settings of its own from variables that a shell may have kept; the config alone decides.
    for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
        del os.environ[name]
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        # One thread a process: the bytes of the result must not depend on how many cores a machine has.
        torch.set_num_threads(1)
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(cache))
    os.environ.setdefault("DS_LOG_LEVEL", "warning")
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_parent()
    elif not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        # Without a launcher DeepSpeed would look for MPI.
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        # Port 0 lets the system choose at the moment of listening: two jobs of one machine can never collide.
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}


def die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it dies, however it dies.

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


def wait() -> None:
    """Wait until every process is here."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def leave() -> None:
    """Leave the group of processes, so that none waits for this one."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
