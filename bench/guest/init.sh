#!/bin/busybox sh
# The first program in a guest, in its initramfs: mounts the disk and what every driver gives an instance, and hands
# over to the agent. All of it is on the timed path, so it forks as seldom as it can and never sleeps.

# the init marker; the kernel has opened /dev/console for us already
echo 'tare: init'

fail() {
    echo "tare: FAILED $1"
    /bin/busybox poweroff -f
}

B=/bin/busybox
$B mount -t devtmpfs dev /dev || fail 'mount /dev'
# the new root's /dev is the same file system
$B mkdir /dev/pts /dev/shm || fail 'mkdir in /dev'
for module in /modules/*.ko; do
    [ -f "$module" ] || continue # a kernel may have all of it built in
    $B insmod "$module" || fail "insmod $module"
done
$B mount -t proc proc /proc || fail 'mount /proc'

# only a guest with a network card is told an address: `tare.address=ADDRESS/MASK`
read -r line </proc/cmdline
case " $line" in
*' tare.address='*)
    line=${line##*tare.address=}
    line=${line%% *}
    $B ifconfig eth0 "${line%/*}" netmask "${line#*/}" up || fail 'eth0 up'
    ;;
esac

# spins: the disk appears within milliseconds of its driver
while [ ! -b /dev/vda ]; do
    read -r up _ </proc/uptime
    [ "${up%.*}" -lt 60 ] || fail 'no disk /dev/vda'
done
$B mount -t ext4 /dev/vda /newroot || fail 'mount /dev/vda'
# one program for the rest: proc, sys, dev, devpts, shm, tmp and run/tare of the new root, by /etc/fstab
$B mount -a || fail 'mount -a'
$B ifconfig lo up || fail 'lo up'

agent=$($B cat /agent) || fail 'read /agent'
# where this fails, init ends and the kernel panics, which ends the guest at once
exec $B switch_root -c /dev/console /newroot /bin/sh -c "$agent" tare-agent port:tare.wire poweroff </dev/null
