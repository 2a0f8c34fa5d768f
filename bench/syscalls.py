"""System calls: their numbers, a program that tries each one without its doing anything, and what the answers mean.

The program is perl, which every Debian has (`perl-base`), and the same in every instance: each call is made in a child
of its own with arguments that are all invalid. Natively it runs as root on the user's own host: what could do anything
there with whatever arguments is in SKIPPED, and never called.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

SKIPPED: Mapping[str, str] = {
    "exit": "ends its caller, and so gives no answer",
    "exit_group": "ends its caller, and so gives no answer",
    "fork": "doubles the child, which would go on with the program",
    "vfork": "the child would go on on its parent's stack",
    "pause": "waits for ever",
    "rt_sigreturn": "takes its caller's registers from whatever lies on the stack",
    "sync": "takes no argument, and writes out all that the host has in memory",
    "vhangup": "takes no argument, and hangs up the user's own terminal",
    "kill": "with -1 it means every process of the host",
    "remap_file_pages": "has the host's kernel write a warning to its log",
    "reboot": "a slip in its arguments would end the host",
}
"""What is never called, and why."""

ARGUMENTS: Mapping[str, tuple[int, ...]] = {
    "clone": (0x10000, 0, 0, 0, 0),  # CLONE_THREAD alone is invalid; -1 would ask for namespaces, which filters look at
    "flock": (-1, 8),  # -1 has the kernel write a warning to its log
    "futex": (-1, 1, 0, 0, 0, 0),  # an operation that there is, at an address that isn't: -1 is ENOSYS
    "init_module": (-1, 0, -1),  # no bytes are no module; -1 would have the kernel try to get as many
    "modify_ldt": (0, -1, 0),  # reads nothing: -1 is ENOSYS
    "msgget": (-1, 0),  # looks one up and never makes one, as -1 would; likewise below
    "semget": (-1, -1, 0),
    "shmget": (-1, -1, 0),
    "personality": (0xFFFFFFFF,),  # asks which it is
}
"""Where six times -1 would do something, or says nothing of the call itself."""

_X86_64 = {
    0: """\
read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn
ioctl pread64 pwrite64 readv writev access pipe select sched_yield mremap msync mincore madvise shmget shmat shmctl
dup dup2 pause nanosleep getitimer alarm setitimer getpid sendfile socket connect accept sendto recvfrom sendmsg
recvmsg shutdown bind listen getsockname getpeername socketpair setsockopt getsockopt clone fork vfork execve exit
wait4 kill uname semget semop semctl shmdt msgget msgsnd msgrcv msgctl fcntl flock fsync fdatasync truncate
ftruncate getdents getcwd chdir fchdir rename mkdir rmdir creat link unlink symlink readlink chmod fchmod chown
fchown lchown umask gettimeofday getrlimit getrusage sysinfo times ptrace getuid syslog getgid setuid setgid geteuid
getegid setpgid getppid getpgrp setsid setreuid setregid getgroups setgroups setresuid getresuid setresgid getresgid
getpgid setfsuid setfsgid getsid capget capset rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend
sigaltstack utime mknod uselib personality ustat statfs fstatfs sysfs getpriority setpriority sched_setparam
sched_getparam sched_setscheduler sched_getscheduler sched_get_priority_max sched_get_priority_min
sched_rr_get_interval mlock munlock mlockall munlockall vhangup modify_ldt pivot_root _sysctl prctl arch_prctl
adjtimex setrlimit chroot sync acct settimeofday mount umount2 swapon swapoff reboot sethostname setdomainname iopl
ioperm create_module init_module delete_module get_kernel_syms query_module quotactl nfsservctl getpmsg putpmsg
afs_syscall tuxcall security gettid readahead setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr
llistxattr flistxattr removexattr lremovexattr fremovexattr tkill time futex sched_setaffinity sched_getaffinity
set_thread_area io_setup io_destroy io_getevents io_submit io_cancel get_thread_area lookup_dcookie epoll_create
epoll_ctl_old epoll_wait_old remap_file_pages getdents64 set_tid_address restart_syscall semtimedop fadvise64
timer_create timer_settime timer_gettime timer_getoverrun timer_delete clock_settime clock_gettime clock_getres
clock_nanosleep exit_group epoll_wait epoll_ctl tgkill utimes vserver mbind set_mempolicy get_mempolicy mq_open
mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr kexec_load waitid add_key request_key keyctl
ioprio_set ioprio_get inotify_init inotify_add_watch inotify_rm_watch migrate_pages openat mkdirat mknodat fchownat
futimesat newfstatat unlinkat renameat linkat symlinkat readlinkat fchmodat faccessat pselect6 ppoll unshare
set_robust_list get_robust_list splice tee sync_file_range vmsplice move_pages utimensat epoll_pwait signalfd
timerfd_create eventfd fallocate timerfd_settime timerfd_gettime accept4 signalfd4 eventfd2 epoll_create1 dup3 pipe2
inotify_init1 preadv pwritev rt_tgsigqueueinfo perf_event_open recvmmsg fanotify_init fanotify_mark prlimit64
name_to_handle_at open_by_handle_at clock_adjtime syncfs sendmmsg setns getcpu process_vm_readv process_vm_writev
kcmp finit_module sched_setattr sched_getattr renameat2 seccomp getrandom memfd_create kexec_file_load bpf execveat
userfaultfd membarrier mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx
io_pgetevents rseq""",
}
_GENERIC = {
    0: """\
io_setup io_destroy io_submit io_cancel io_getevents setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr
listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr getcwd lookup_dcookie eventfd2 epoll_create1
epoll_ctl epoll_pwait dup dup3 fcntl inotify_init1 inotify_add_watch inotify_rm_watch ioctl ioprio_set ioprio_get
flock mknodat mkdirat unlinkat symlinkat linkat renameat umount2 mount pivot_root nfsservctl statfs fstatfs truncate
ftruncate fallocate faccessat chdir fchdir chroot fchmod fchmodat fchownat fchown openat close vhangup pipe2
quotactl getdents64 lseek read write readv writev pread64 pwrite64 preadv pwritev sendfile pselect6 ppoll signalfd4
vmsplice splice tee readlinkat newfstatat fstat sync fsync fdatasync sync_file_range timerfd_create timerfd_settime
timerfd_gettime utimensat acct capget capset personality exit exit_group waitid set_tid_address unshare futex
set_robust_list get_robust_list nanosleep getitimer setitimer kexec_load init_module delete_module timer_create
timer_gettime timer_getoverrun timer_settime timer_delete clock_settime clock_gettime clock_getres clock_nanosleep
syslog ptrace sched_setparam sched_setscheduler sched_getscheduler sched_getparam sched_setaffinity
sched_getaffinity sched_yield sched_get_priority_max sched_get_priority_min sched_rr_get_interval restart_syscall
kill tkill tgkill sigaltstack rt_sigsuspend rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait
rt_sigqueueinfo rt_sigreturn setpriority getpriority reboot setregid setgid setreuid setuid setresuid getresuid
setresgid getresgid setfsuid setfsgid times setpgid getpgid getsid setsid getgroups setgroups uname sethostname
setdomainname getrlimit setrlimit getrusage umask prctl getcpu gettimeofday settimeofday adjtimex getpid getppid
getuid geteuid getgid getegid gettid sysinfo mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
msgget msgctl msgrcv msgsnd semget semctl semtimedop semop shmget shmctl shmat shmdt socket socketpair bind listen
accept connect getsockname getpeername sendto recvfrom setsockopt getsockopt shutdown sendmsg recvmsg readahead brk
munmap mremap add_key request_key keyctl clone execve mmap fadvise64 swapon swapoff mprotect msync mlock munlock
mlockall munlockall mincore madvise remap_file_pages mbind get_mempolicy set_mempolicy migrate_pages move_pages
rt_tgsigqueueinfo perf_event_open accept4 recvmmsg""",
    260: """\
wait4 prlimit64 fanotify_init fanotify_mark name_to_handle_at open_by_handle_at clock_adjtime syncfs setns sendmmsg
process_vm_readv process_vm_writev kcmp finit_module sched_setattr sched_getattr renameat2 seccomp getrandom
memfd_create bpf execveat userfaultfd membarrier mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc
pkey_free statx io_pgetevents rseq kexec_file_load""",
}
_BOTH = {
    424: """\
pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig fsmount
fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 process_madvise epoll_pwait2 mount_setattr
quotactl_fd landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret process_mrelease
futex_waitv set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue
statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat
removexattrat open_tree_attr file_getattr file_setattr""",
}

"""Names in the order of their numbers, from the number before them on: up to 469 (Linux 6.18)."""

_TABLES = {"x86_64": (_X86_64, _BOTH), "aarch64": (_GENERIC, _BOTH)}

# A number, not a string: perl passes a string by its address. A call that waits is ended after 5 s.
PROGRAM = """\
my ($exit, $capset, $mask, @calls) = @ARGV;
if ($mask ne "-") {
  my ($high, $low) = map { hex } substr($mask, 0, 8), substr($mask, 8);
  my ($head, $sets) = (pack("Ll", 0x20080522, 0), pack("L6", $low, $low, 0, $high, $high, 0));
  syscall($capset + 0, $head, $sets) and die "capset: $!\\n";
}
for (@calls) {
  my ($number, @arguments) = map { $_ + 0 } split /[:,]/;
  @arguments = (-1) x 6 unless @arguments;
  defined(my $child = fork) or die "fork: $!\\n";
  if (!$child) {
    alarm 5;
    my $answer = syscall($number, @arguments);
    syscall($exit + 0, $answer == -1 ? $! + 0 : 0);
  }
  waitpid $child, 0;
  print "$number ", $? & 127 ? "signal " . ($? & 127) : $? >> 8, "\\n";
}
print "end\\n";
"""
SAME_CAPABILITIES = "-"


def numbers(machine: str) -> Mapping[int, str]:
    """Name by number of what is called on such a machine (`uname -m`); empty where its numbers are not known."""
    return {number: name for number, name in _all(machine) if name not in SKIPPED}


def argv(machine: str, capabilities: str = SAME_CAPABILITIES) -> list[str]:
    """The program with its arguments for a machine whose numbers are known.

    It gives up all capabilities but those of the mask (16 hexadecimal digits, as /proc/self/status has it) first.
    """
    calls = []
    for number, name in numbers(machine).items():
        given = ",".join(map(str, ARGUMENTS.get(name, ())))
        calls.append(f"{number}:{given}" if given else str(number))
    own = {name: str(number) for number, name in _all(machine)}
    return ["perl", "-e", PROGRAM, own["exit_group"], own["capset"], capabilities, *calls]


def _all(machine: str) -> Iterator[tuple[int, str]]:
    for table in _TABLES.get(machine, ()):
        for first, names in table.items():
            yield from enumerate(names.split(), first)


def parse(text: str, machine: str) -> dict[str, int] | None:
    """By name what each call came to: an errno, 0, or a signal's number below 0. None where the program did not end."""
    lines = text.split("\n")
    if "end" not in lines:
        return None
    names, found = numbers(machine), dict[str, int]()
    for line in lines[: lines.index("end")]:
        number, _, answer = line.partition(" ")
        found[names[int(number)]] = -int(answer.removeprefix("signal ")) if " " in answer else int(answer)
    return found


@dataclass(slots=True)
class Sorted:
    """The calls that were tried, by what became of them."""

    through: list[str] = field(default_factory=list)
    """The kernel's own code took them up: with an answer to their arguments."""
    filtered: list[str] | None = None
    """Refused by a filter before that; None: not to be told from the next two."""
    refused: list[str] | None = None
    """Refused by the kernel itself (EPERM): for want of a capability."""
    missing: list[str] | None = None
    """Not implemented (ENOSYS)."""


_NO = (errno.EPERM, errno.ENOSYS)
_KILLED = -signal.SIGSYS


def sort(seen: Mapping[str, int], reference: Mapping[str, int] | None) -> Sorted:
    """What became of the calls. `reference` is what the same kernel says without a filter and with the same
    capabilities: `seen` itself where there is no filter; None where nobody knows."""
    found = Sorted(through=[name for name, answer in seen.items() if answer not in (*_NO, _KILLED)])
    if reference is None:
        return found
    found.filtered, found.refused, found.missing = [], [], []
    for name, answer in seen.items():
        if answer == _KILLED or (answer in _NO and reference.get(name, 0) != answer):
            found.filtered.append(name)
        elif answer == errno.EPERM:
            found.refused.append(name)
        elif answer == errno.ENOSYS:
            found.missing.append(name)
    return found
