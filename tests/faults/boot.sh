#!/usr/bin/env bash
# Run by boot.py as the first process of new namespaces; becomes systemd.
#
# WORK    an empty folder; becomes a tmpfs with the overlay's layers and its root
# PREFIX, PYTHON, PACKAGES, SOURCE   Python's prefix and name, site-packages, the checkout
# OUT     where results go
# DRIVER  the module to run
# MASKED  services that must not run
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs "$WORK"
mkdir "$WORK/upper" "$WORK/work" "$WORK/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/root"
cd "$WORK/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys && mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs dev
for name in null zero full random urandom tty; do
    touch dev/$name && mount --bind /dev/$name dev/$name
done
mkdir dev/shm dev/pts dev/mqueue dev/hugepages
ln -s pts/ptmx dev/ptmx
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s /proc/self/fd dev/fd
ip link set lo up
mkdir -p opt/python opt/packages opt/source opt/out opt/whisper-live/bin
mount --bind "$PREFIX" opt/python
mount --bind "$PACKAGES" opt/packages
mount --bind "$SOURCE" opt/source
mount --bind "$OUT" opt/out
for name in whisper_live tests.faults.injected; do
    file=opt/whisper-live/bin/$(echo "$name" | sed 's/.*\.//; s/_/-/')
    printf '#!/bin/sh\nexport LD_LIBRARY_PATH=/opt/python/lib\nexec /opt/python/bin/%s -P -m %s "$@"\n' "$PYTHON" $name > "$file"
    chmod 755 "$file"
done
for name in $MASKED; do ln -sf /dev/null etc/systemd/system/$name.service; done
cp "$SOURCE"/systemd/whisper-live.service "$SOURCE"/systemd/whisper-live.socket etc/systemd/system
cat > etc/systemd/system/drive.service <<END
[Service]
Type=oneshot
Environment=PYTHONPATH=/opt/packages:/opt/source
ExecStart=/opt/python/bin/$PYTHON -m $DRIVER
ExecStopPost=/bin/sh -c 'journalctl -b --no-pager -o cat -u whisper-live > /opt/out/journal; systemctl poweroff --force --force'
StandardOutput=file:/opt/out/result
StandardError=file:/opt/out/errors
END
printf '[Unit]\nRequires=drive.service\nAllowIsolate=yes\n' > etc/systemd/system/test.target
printf '[Manager]\nDefaultEnvironment=PYTHONPATH=/opt/packages:/opt/source\n' > etc/systemd/system.conf
# A chroot may make no user namespaces, which PrivateUsers= needs.
mkdir -p old
pivot_root . old
umount -l old
# In a container systemd leaves this to its manager; credentials need it.
mount --make-rshared /
exec /lib/systemd/systemd --unit=test.target --log-target=journal --show-status=false
