#!/bin/busybox sh
# The guest's first program. It loads the modules that the command line asks for, puts a writable layer over the
# host's files, which it sees read-only, and becomes the agent.
b=/bin/busybox
fail() { $b echo "trenvx-init: $*"; $b sleep 1; $b poweroff -f; }

$b mount -t proc proc /proc || fail "cannot mount /proc"
$b mount -t sysfs sys /sys || fail "cannot mount /sys"
$b mount -t devtmpfs dev /dev || fail "cannot mount /dev"

agent= load=
for word in $($b cat /proc/cmdline); do
    case $word in
        trenvx.agent=*) agent=${word#*=} ;;
        trenvx.load=*) load=${word#*=} ;;
    esac
done

for group in $(IFS=,; $b echo $load); do
    for module in $($b cat "/modules/$group.order"); do
        [ -d "/sys/module/$module" ] || $b insmod "/modules/$module" || fail "cannot load $module"
    done
done

$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /host || fail "cannot mount the host's files"
$b mount -t tmpfs -o mode=755 layer /layer || fail "cannot mount a tmpfs"
$b mkdir /layer/upper /layer/work
$b mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work root /root || fail "cannot mount the overlay"

for place in proc sys dev; do $b mount --move /$place /root/$place || fail "cannot move /$place"; done
$b mkdir -p /root/dev/pts /root/dev/shm
$b mount -t devpts devpts /root/dev/pts
$b mount -t tmpfs -o mode=1777 shm /root/dev/shm
$b mount -t tmpfs -o mode=755 run /root/run
$b echo "trenvx-init: becomes $agent"
# If it cannot start, the kernel panics and says so on the console, which is what the host shows.
# Its root is the root of all mounts, not a folder below: sandboxes made from it show paths from their own root.
exec $b switch_root /root "$agent" emu guest agent
