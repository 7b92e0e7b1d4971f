"""What Linux does for a case: namespaces, mounts, limits, a system call filter. Each step raises OSError if refused."""

import ctypes
import fcntl
import os
import platform
import resource
import socket
import struct

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
NOSUID_NODEV, NOSUID_NODEV_NOEXEC, RECURSIVE_PRIVATE = 2 | 4, 2 | 4 | 8, 0x4000 | 0x40000
READ_ONLY, AT_RECURSIVE, AT_FDCWD = 1, 0x8000, -100
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 4, 22, 38, 36
SECCOMP_MODE_FILTER = 2
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN = 47, 2, 21
SIGKILL = 9
MAIN_SHM_SHARE = 8  # /dev/shm gets an eighth of the scratch space: semaphores and shared arrays

# System calls no program under test needs and kernels have been broken through: (x86_64, aarch64).
DENIED = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
CLONE, CLONE3, SOCKET = (56, 220), (435, 435), (41, 198)
AUDIT_ARCH = (0xC000003E, 0xC00000B7)
# AF_UNIX, AF_INET, AF_INET6, AF_NETLINK. Others reach past the network namespace: AF_VSOCK ends at the machine's host.
SOCKET_FAMILIES = (1, 2, 10, 16)

# Looked up here, once: in the process of a case it would be done again for each.
libc = ctypes.CDLL(None, use_errno=True)
capset, prctl_call, mount_call = libc.capset, libc.prctl, libc.mount
prctl_call.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
mount_call.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
CAPABILITIES = (struct.pack("II", 0x20080522, 0), bytes(24))  # version 3 of capset, this process; none


def check(result, what):
    """Raise the OSError that the last C call left behind, naming the step."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def prctl(option, value):
    """Set one attribute of this process."""
    if prctl_call(option, value, 0, 0, 0):
        check(-1, f"prctl {option}")


def unshare(flags):
    """Leave the namespaces named by `flags` for new ones."""
    if libc.unshare(flags):
        check(-1, f"unshare {flags:#x}")


def setns(descriptor, kind):
    """Enter the namespace behind a descriptor; for pid namespaces, have future children enter it."""
    check(libc.setns(descriptor, kind), "setns")


def mount(source, target, kind, flags, options=None):
    """Mount a file system."""
    if mount_call(source, target, kind, flags, options):
        check(-1, f"mount {target}")


def make_read_only():
    """Make every mount of this mount namespace read-only; devices stay usable. Linux 5.12 or newer."""
    attributes = struct.pack("QQQQ", READ_ONLY, 0, 0, 0)
    result = libc.syscall(442, AT_FDCWD, b"/", AT_RECURSIVE, attributes, len(attributes))
    check(result, "mount_setattr")


def map_self(uid, gid):
    """Keep this process's ids in a user namespace it has just made."""
    for path, text in (
        ("/proc/self/setgroups", b"deny"),
        ("/proc/self/uid_map", b"%d %d 1" % (uid, uid)),
        ("/proc/self/gid_map", b"%d %d 1" % (gid, gid)),
    ):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.write(descriptor, text)
        finally:
            os.close(descriptor)


def raise_loopback():
    """Bring `lo` up, so that programs may talk to themselves; the namespace holds no other device."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))


def keep_capability(number):
    """Keep one capability, and no other, in this process and in the program that it becomes by `exec`."""
    held = struct.pack("IIIIII", *[1 << number] * 3, 0, 0, 0)
    check(capset(CAPABILITIES[0], held), "capset")
    if prctl_call(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0):
        check(-1, "prctl ambient")


def drop_capabilities():
    """Give up every capability, and the way back through set-user-id programs."""
    check(capset(*CAPABILITIES), "capset")
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def system_call_filter():
    """Return the filter as (buffer, program), to be kept alive and installed later; None on an unknown machine."""
    column = {"x86_64": 0, "aarch64": 1}.get(platform.machine())
    if column is None:
        return None
    allow, refuse, missing = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38
    load, equal, at_least, bits, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    lines = [(load, 0, 0, 4), (equal, 1, 0, AUDIT_ARCH[column]), (answer, 0, 0, refuse), (load, 0, 0, 0)]
    lines += [(at_least, 0, 1, 0x40000000), (answer, 0, 0, refuse)]  # the x32 numbers of the same calls
    for numbers in DENIED.values():
        lines += [(equal, 0, 1, numbers[column]), (answer, 0, 0, refuse)]
    # Without clone3, libc falls back to clone, whose flags a filter can read.
    lines += [(equal, 0, 1, CLONE3[column]), (answer, 0, 0, missing)]
    namespaces = NEWNS | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | 0x02000000
    lines += [(equal, 0, 4, CLONE[column]), (load, 0, 0, 16), (bits, 0, 1, namespaces)]
    lines += [(answer, 0, 0, refuse), (answer, 0, 0, allow)]
    lines += [(equal, 0, 3 + len(SOCKET_FAMILIES), SOCKET[column]), (load, 0, 0, 16)]
    for place, family in enumerate(SOCKET_FAMILIES):
        lines += [(equal, len(SOCKET_FAMILIES) - place, 0, family)]
    lines += [(answer, 0, 0, refuse), (answer, 0, 0, allow), (answer, 0, 0, allow)]
    buffer = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(lines), ctypes.addressof(buffer)))
    return buffer, program


def install_filter(built):
    """Put a filter from `system_call_filter` on this process and all its children, for good."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    check(prctl_call(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(built[1]), 0, 0), "seccomp")


def own_namespaces(uid, gid, scratch_mb):
    """Give this process everything of its own: mounts with fresh /tmp, /dev/shm and /proc, ipc, names, ids."""
    unshare(NEWNS | NEWIPC | NEWUTS)
    shared_mb = max(1, scratch_mb // MAIN_SHM_SHARE)
    sizes = b"size=%dm,mode=1777,nr_inodes=%dk"
    mount(b"tmpfs", b"/tmp", b"tmpfs", NOSUID_NODEV, sizes % (max(1, scratch_mb - shared_mb), 20))
    mount(b"tmpfs", b"/dev/shm", b"tmpfs", NOSUID_NODEV_NOEXEC, sizes % (shared_mb, 2))
    mount(b"proc", b"/proc", b"proc", NOSUID_NODEV_NOEXEC)
    unshare(NEWUSER)
    map_self(uid, gid)


def limit(memory_bytes, cpu_s, files_bytes, processes):
    """Set a case's own limits, which the kernel enforces for this process and each of its children."""
    limits = (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, files_bytes),
    ) + (((resource.RLIMIT_NPROC, processes),) if processes else ())
    for kind, value in limits:
        at_most(kind, value)


def limit_all_alike():
    """Set the limits that are the same for every case; the processes forked later keep them."""
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_STACK, 8 << 20),
        (resource.RLIMIT_MEMLOCK, 1 << 20),
        (resource.RLIMIT_MSGQUEUE, 1 << 20),
        (resource.RLIMIT_SIGPENDING, 1024),
    ):
        at_most(kind, value)


def at_most(kind, value):
    """Set a soft and hard limit, unless a lower one holds already."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def own_memory():
    """Return the bytes of (address space, memory) that this process already uses."""
    with open("/proc/self/statm") as file:
        pages = file.read().split()
    return int(pages[0]) * resource.getpagesize(), int(pages[1]) * resource.getpagesize()


def measured(pid):
    """Return (CPU seconds, seconds spent waiting for a core, state) of a live process and its reaped children."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    ticks = sum(int(value) for value in fields[11:15])
    try:
        with open(f"/proc/{pid}/schedstat") as file:
            waited = int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        waited = 0.0
    return ticks / os.sysconf("SC_CLK_TCK"), waited, fields[0]


def resident(pid):
    """Return the bytes of memory a process holds, with all that it shares: known to the kernel without counting."""
    with open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def proportional(pid):
    """Return the bytes of memory a process holds, what it shares divided among the sharers; counts every page."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def alone(pid):
    """Tell whether a process has no children; False also where the kernel does not say."""
    folder = f"/proc/{pid}/task"
    for task in os.listdir(folder):
        with open(f"{folder}/{task}/children", "rb") as file:
            if file.read(1):
                return False
    return True


def parent(pid):
    """Return the pid of a process's parent."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def pid_namespace(pid):
    """Return the identity of a process's pid namespace."""
    return os.readlink(f"/proc/{pid}/ns/pid")
