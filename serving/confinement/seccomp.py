"""System calls by which a process reaches past Landlock, refused by a filter in the kernel.

Landlock knows nothing of Unix sockets (the engine's, the session bus's, other model servers'), of UDP, of the modes
and owners of files, of limits of other processes, or of System V's shared memory; and io_uring goes round a filter.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import sys
from collections.abc import Sequence

# Numbers for x86_64 and aarch64; None: there is no such call. From the kernel's tables of system calls.
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
SECCOMP = (317, 277)
SOCKET, SOCKETPAIR = (41, 198), (53, 199)
SENDTO, SENDMSG, SENDMMSG = (44, 206), (46, 211), (307, 269)
PRLIMIT = (302, 261)
IO_URING_SETUP = (425, 425)
MODES = (  # chmod, fchmod, fchmodat, fchmodat2; chown, fchown, lchown, fchownat
    *((90, None), (91, 52), (268, 53), (452, 452)),
    *((92, None), (93, 55), (94, None), (260, 54)),
)
ATTRIBUTES = ((188, 5), (189, 6), (190, 7), (463, 463), (197, 14), (198, 15), (199, 16), (466, 466))
KEYS = ((248, 217), (249, 218), (250, 219))  # add_key, request_key, keyctl
SYSTEM_V = (  # shmget, shmat, shmctl; semget, semop, semctl; msgget, msgsnd, msgrcv, msgctl; mq_open, mq_unlink
    *((29, 194), (30, 196), (31, 195), (64, 190), (65, 193), (66, 191)),
    *((68, 186), (69, 189), (70, 188), (71, 187), (240, 180), (241, 181)),
)
X32 = 0x40000000  # on x86_64, the same calls under other numbers

LOAD, AND, EQUALS, AT_LEAST, HAS_BITS, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16
ALLOW, FAIL = 0x7FFF0000, 0x00050000
DENIED = FAIL | errno.EACCES
PR_GET_SECCOMP = 21
SET_FILTER, KEEP_SPEED = 1, 4  # the latter: no slower branches, which kernels before 5.16 add else
SOCKET_TYPE, FAST_OPEN = 0xF, 0x20000000

Instruction = tuple[int, int, int, int]  # code, how many to skip if true, if false; operand


def available() -> bool:
    """Whether there is a filter for this machine, and its kernel takes one."""
    known = sys.platform == "linux" and sys.maxsize > 2**32 and platform.machine() in ARCHITECTURES
    return known and ctypes.CDLL(None).prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0


def restrict(*, network: bool, modes: bool) -> None:
    """Refuse such calls to this thread and what it starts, for good. OSError: the kernel refuses.

    ``PR_SET_NO_NEW_PRIVS`` is set.

    Args:
        network: may use UDP, and other sockets of the internet's.
        modes: may change modes, owners and attributes of files; else nothing happens, without an error: programs that
            copy or unpack files go on.
    """
    code, column = ARCHITECTURES[platform.machine()]
    program = _program(code, column, network=network, modes=modes)
    filters = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    described = struct.pack("@HP", len(program), ctypes.addressof(filters))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SECCOMP[column], SET_FILTER, KEEP_SPEED, ctypes.c_char_p(described)):
        raise OSError(ctypes.get_errno(), f"seccomp refuses: {os.strerror(ctypes.get_errno())}")


def _program(architecture: int, column: int, *, network: bool, modes: bool) -> list[Instruction]:
    refused: dict[tuple[int, int | None], int] = dict.fromkeys((*KEYS, *SYSTEM_V), DENIED)
    refused[IO_URING_SETUP] = FAIL | errno.ENOSYS
    if not modes:
        refused |= dict.fromkeys(MODES, FAIL | 0) | dict.fromkeys(ATTRIBUTES, FAIL | errno.ENOTSUP)
    program: list[Instruction] = [
        *((LOAD, 0, 0, ARCHITECTURE_AT), (EQUALS, 1, 0, architecture), (RETURN, 0, 0, DENIED)),
        *((LOAD, 0, 0, NUMBER_AT), (AT_LEAST, 0, 1, X32), (RETURN, 0, 0, DENIED)),
    ]
    for numbers, answer in refused.items():
        program += _where(numbers[column], [(RETURN, 0, 0, answer)])
    program += _where(SOCKET[column], _sockets(network=network))
    program += _where(SOCKETPAIR[column], [*_masked(1), *_only(socket.SOCK_STREAM)])
    program += _where(PRLIMIT[column], [_argument(0), *_only(0)])
    if not network:  # else a connection can be made by what sends
        for numbers, flags in ((SENDTO, 3), (SENDMSG, 2), (SENDMMSG, 3)):
            refuse = [(HAS_BITS, 0, 1, FAST_OPEN), (RETURN, 0, 0, DENIED), (RETURN, 0, 0, ALLOW)]
            program += _where(numbers[column], [_argument(flags), *refuse])
    return [*program, (RETURN, 0, 0, ALLOW)]


def _sockets(*, network: bool) -> list[Instruction]:
    """Allow those of the internet's and, without a network, of these only TCP's, which Landlock knows."""
    tcp = [*_masked(1), (EQUALS, 1, 0, socket.SOCK_STREAM), (RETURN, 0, 0, DENIED)]
    tcp += [_argument(2), *_only(0, socket.IPPROTO_TCP)]
    internet: list[Instruction] = [(RETURN, 0, 0, ALLOW)] if network else tcp
    netlink = 16  # which addresses this machine has
    return [
        _argument(0),
        *((EQUALS, 0, 1, netlink), (RETURN, 0, 0, ALLOW)),
        *((EQUALS, 2, 0, socket.AF_INET), (EQUALS, 1, 0, socket.AF_INET6), (RETURN, 0, 0, DENIED)),
        *internet,
    ]


def _where(number: int | None, then: Sequence[Instruction]) -> list[Instruction]:
    """Go through ``then``, which ends with an answer, for this call; the number stays loaded for others."""
    return [] if number is None else [(EQUALS, 0, len(then), number), *then]


def _only(*values: int) -> list[Instruction]:
    allowed: list[Instruction] = []
    for value in values:
        allowed += [(EQUALS, 0, 1, value), (RETURN, 0, 0, ALLOW)]
    return [*allowed, (RETURN, 0, 0, DENIED)]


def _masked(index: int) -> list[Instruction]:
    return [_argument(index), (AND, 0, 0, SOCKET_TYPE)]


def _argument(index: int) -> Instruction:
    return (LOAD, 0, 0, ARGUMENTS_AT + 8 * index)  # its lower half, on machines that count from there
