"""The boundary around a worker: Apptainer, else bubblewrap, else nothing, and only if the caller insists.

A layer is a command that starts `python -c BOOT` behind its boundary with a socket as descriptor 0, over which the
worker gets its own modules. So nothing of this project needs to be readable, or mounted, inside.
"""

import binascii
import importlib.util
import json
import marshal
import os
import pwd
import shutil
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.images import images_folder
from selfcodealign.sandbox.inside import MODULES
from selfcodealign.sandbox.settings import Settings

# Reads the sources, makes modules of them, and hands over; nothing else is ever typed into the container. Compiling
# takes longer than all else, so that code comes with them for an interpreter that reads the same code.
BOOT = """
import _frozen_importlib_external, binascii, json, marshal, os, socket, struct, sys, types
handle = socket.socket(fileno=os.dup(0))
null = os.open(os.devnull, os.O_RDWR)
os.dup2(null, 0)
os.close(null)
def read(size):
    parts = b""
    while len(parts) < size:
        part = handle.recv(size - len(parts))
        if not part:
            os._exit(0)
        parts += part
    return parts
settings = json.loads(read(struct.unpack("!Q", read(8))[0]))
if settings["magic"] == _frozen_importlib_external.MAGIC_NUMBER.hex():
    modules = marshal.loads(binascii.a2b_base64(settings["compiled"]))
else:
    modules = [(name, compile(source, "<sandbox %s>" % name, "exec")) for name, source in settings["sources"]]
for name, code in modules:
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(code, module.__dict__)
sys.modules["worker"].main(handle, settings, modules)
"""
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "USER": "nobody",
    "LOGNAME": "nobody",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "/tmp",
}
INSTALL = (
    "install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap; without root: conda install -c conda-forge "
    "bubblewrap) or Apptainer with the sandbox image"
)
NOBODY = 65534
STAGE = "/tmp"  # covered in the launcher's own mount namespace, nowhere else
# Of /etc, what programs may look up; nothing in it is private.
SYSTEM_FILES = tuple(
    f"/etc/{name}" for name in ("ld.so.cache", "localtime", "alternatives", "mime.types", "os-release", "services")
)
# Run by root: show folders to an unprivileged user, become that user, start bubblewrap.
LAUNCH = """
import ctypes, os, sys
user, stage, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
folders, command = sys.argv[4 : 4 + count], sys.argv[4 + count :]
libc = ctypes.CDLL(None, use_errno=True)
def check(result, what):
    if result:
        sys.exit("%s: %s" % (what, os.strerror(ctypes.get_errno())))
check(libc.unshare(0x20000), "unshare")
check(libc.mount(None, b"/", None, ctypes.c_ulong(0x4000 | 0x40000), None), "private mounts")
handles = [os.open(folder, os.O_PATH) for folder in folders]
check(libc.mount(b"tmpfs", stage.encode(), b"tmpfs", ctypes.c_ulong(6), b"mode=755,size=1m"), "mount")
for number, (folder, handle) in enumerate(zip(folders, handles)):
    target = "%s/%d" % (stage, number)
    source = b"/proc/self/fd/%d" % handle
    # Asked of the handle: the folder itself may lie under the stage, which is covered by now.
    os.mkdir(target) if os.path.isdir(source) else open(target, "w").close()
    check(libc.mount(source, target.encode(), None, ctypes.c_ulong(0x1000 | 0x4000), None), "bind")
    os.close(handle)
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
os.execv(command[0], command)
"""


@dataclass(frozen=True)
class Layer:
    """How to start a worker: a command line, who runs it, and what its image is."""

    name: str
    command: tuple[str, ...]
    user: int | None = None  # the user that the command runs as, when started by root
    image: str = ""
    nested: bool = True  # may the worker try to make namespaces for its cases
    preload: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, log: Any = subprocess.DEVNULL) -> tuple[subprocess.Popen[Any], socket.socket]:
        """Start one worker; returns the process at its boundary and the socket to it, its modules already sent."""
        here, there = socket.socketpair()
        options: dict[str, Any] = {}
        if self.user is not None:
            options = {"user": self.user, "group": self.user, "extra_groups": []}
        try:
            process = subprocess.Popen(
                self.command,
                stdin=there.fileno(),
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd="/",
                start_new_session=True,
                **options,
            )
        finally:
            there.close()
        send(here, {"environment": ENVIRONMENT, "nested": self.nested, "preload": self.preload, **_inside()})
        return process, here


@cache
def _inside() -> dict[str, Any]:
    """Return the worker's sources, and their code for interpreters with this one's magic number."""
    folder = Path(__file__).parent / "inside"
    sources = [(name, (folder / f"{name}.py").read_text()) for name in MODULES]
    compiled = [(name, compile(source, f"<sandbox {name}>", "exec")) for name, source in sources]
    code = binascii.b2a_base64(marshal.dumps(compiled)).decode()
    return {"sources": sources, "magic": importlib.util.MAGIC_NUMBER.hex(), "compiled": code}


def send(handle: socket.socket, message: Any) -> None:
    """Send one message: eight bytes of length, then JSON."""
    body = json.dumps(message).encode()
    handle.sendall(struct.pack("!Q", len(body)) + body)


def bubblewrap(settings: Settings) -> list[Layer]:
    """Return the ways to start a worker with bubblewrap, the preferred one first; empty without it."""
    program = shutil.which("bwrap")
    if program is None:
        return []
    python = settings.python or sys.executable
    shown = [(place, _uncovered(str(place))) for place in interpreter_folders(python)]
    inside_python = _uncovered(python)
    shown += [(Path(host).absolute(), inside) for host, inside in settings.read_only]
    layer = Layer("bubblewrap", (), image=f"host {python} {sys.version}", preload=settings.preload)
    plain = _bubblewrap_command(program, inside_python, [(str(host), inside) for host, inside in shown])
    if os.getuid() != 0:
        return [replace(layer, command=tuple(plain))]
    # Nothing in the sandbox is root, not even under another number: an unprivileged user starts bubblewrap. What that
    # user cannot reach, such as an interpreter under /root, root first shows in a mount namespace of its own. Where
    # root lacks the right to do so, as in many containers, the folders must be readable as they are.
    staged = [(f"{STAGE}/{number}", inside) for number, (_, inside) in enumerate(shown)]
    hosts = [str(host) for host, _ in shown]
    launch = [sys.executable, "-S", "-E", "-c", LAUNCH, str(_unprivileged()), STAGE, str(len(hosts)), *hosts]
    return [
        replace(layer, command=(*launch, *_bubblewrap_command(program, inside_python, staged))),
        replace(layer, command=tuple(plain), user=_unprivileged()),
    ]


def _uncovered(path: str) -> str:
    """Return where a host path stands inside: /tmp is each program's own there, so what lies under it moves."""
    return f"/opt{path}" if path.startswith("/tmp/") else path


def _bubblewrap_command(program: str, python: str, shown: list[tuple[str, str]]) -> list[str]:
    """Return the whole command that starts a worker; `shown` are pairs of host path and path inside."""
    command = [program, "--unshare-all", "--unshare-user", "--cap-drop", "ALL", "--die-with-parent", "--new-session"]
    command += ["--hostname", "sandbox", "--clearenv"]
    for name, value in ENVIRONMENT.items():
        command += ["--setenv", name, value]
    for place in ("/usr", *SYSTEM_FILES):
        command += ["--ro-bind-try", place, place]
    for place in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(place):
            command += ["--symlink", os.readlink(place), place]
        elif os.path.isdir(place):
            command += ["--ro-bind", place, place]
    made = {"/usr", "/etc"}
    for host, inside in shown:
        for parent in [*reversed(Path(inside).parents)][1:]:
            if str(parent) not in made:
                made.add(str(parent))
                command += ["--perms", "0755", "--dir", str(parent)]
        command += ["--ro-bind", host, inside]
    command += ["--dev", "/dev", "--proc", "/proc", "--perms", "1777", "--tmpfs", "/tmp", "--chdir", "/"]
    return [*command, "--", python, "-s", "-c", BOOT]


def interpreter_folders(python: str) -> list[Path]:
    """List the folders that an interpreter on the host needs besides /usr: its installation, its environment."""
    if Path(python).absolute() == Path(sys.executable).absolute():
        prefixes = [sys.base_prefix, sys.prefix]
    else:
        code = "import sys; print(sys.base_prefix); print(sys.prefix)"
        prefixes = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
    folders: list[Path] = []
    for prefix in filter(None, prefixes):
        folder = Path(prefix).absolute()
        real = folder.resolve()
        for one in (folder, real):
            if one not in folders and not one.is_relative_to("/usr") and one != Path("/"):
                folders.append(one)
    return folders


def apptainer_program() -> str | None:
    """Return the path of apptainer, or of singularity, its older name."""
    for name in ("apptainer", "singularity", "/opt/apptainer/bin/apptainer"):
        found = shutil.which(name)
        if found:
            return found
    return None


def sandbox_image(settings: Settings) -> Path | None:
    """Return the image to use: the one asked for, else the sandbox image if it has been built."""
    if settings.image is not None:
        if not settings.image.exists():
            raise UserError(f"sandbox image {settings.image} does not exist; build it or correct the path")
        return settings.image.absolute()
    for name in ("sandbox", "sandbox.sif"):
        if (images_folder() / name).exists():
            return images_folder() / name
    return None


def apptainer(settings: Settings) -> list[Layer]:
    """Return the ways to start a worker with Apptainer, the preferred one first; empty without it or an image."""
    program, image = apptainer_program(), sandbox_image(settings)
    if program is None or image is None:
        return []
    command = [program, "--silent", "exec", "--containall", "--cleanenv", "--no-home", "--no-privs", "--pwd", "/"]
    for host, inside in settings.read_only:
        command += ["--bind", f"{Path(host).absolute()}:{inside}:ro"]
    words = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
    python = settings.python or "python3"
    run = [str(image), "/usr/bin/env", "-i", *words, python, "-s", "-c", BOOT]
    environment = {
        "PATH": f"{Path(program).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": "/nonexistent",
    }
    identity = f"{image} {image.stat().st_mtime_ns}"
    layer = Layer("apptainer", (), image=identity, preload=settings.preload, environment=environment)
    user = _unprivileged() if os.getuid() == 0 else None
    with_network = (*command, "--net", "--network", "none", *run)
    return [replace(layer, command=with_network, user=user), replace(layer, command=(*command, *run), user=user)]


def _unprivileged() -> int:
    """Return the user that root starts containers as."""
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        return NOBODY


def bare(settings: Settings) -> list[Layer]:
    """Return the layer that is none: limits and a system call filter, but the host's files and network."""
    python = settings.python or sys.executable
    command = (python, "-s", "-c", BOOT)
    layer = Layer("none", command, image=f"host {python}", nested=False, preload=settings.preload)
    return [replace(layer, environment=dict(ENVIRONMENT))]


def candidates(settings: Settings) -> list[Layer]:
    """List the layers to try, in order."""
    if settings.isolation == "apptainer":
        return apptainer(settings)
    if settings.isolation == "bubblewrap":
        return bubblewrap(settings)
    if settings.isolation == "none":
        if not settings.i_understand:
            raise UserError(
                "isolation none lets model-written programs reach your files and network; if you mean it, say so with "
                "--i-understand true"
            )
        return bare(settings)
    return apptainer(settings) + bubblewrap(settings)
