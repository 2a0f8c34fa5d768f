# Makes a private view of the rootfs and then becomes the agent's shell in it. POSIX sh, run in a new mount namespace.
# argv: ROOT WORK CGROUP_PROCS... -- AGENT_ARGV...   Standard input and output are the wire.
root=$1 work=$2
shift 2
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
while [ "$1" != -- ]; do
    echo 0 >"$1" || exit 90
    shift
done
shift
set -e
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755,size=1m dev "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty "$root/dev/"
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777,size=64m shm "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o mode=700 tare "$root/run/tare"
mount --bind "$work" "$root/work"
echo created >&2
# Nothing of the instance runs before the word is given; at the end of file the harness is gone.
read -r start
exec chroot "$root" "$@"
