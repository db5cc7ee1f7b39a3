#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# box.sh DIRECTORY ROOT PYTHON [KEPT...]
#
# Becomes a systemd over this machine's files, in namespaces that the caller made. What is written
# goes to memory, under DIRECTORY/upper, and /run, /tmp and /dev/shm are its own. It starts no unit
# but those that are written into it. ROOT and PYTHON, two directories, are made readable to every
# user; what is KEPT of /run is the machine's.

set -eu
directory=$1 project=$2 python=$3
shift 3

mount --make-rprivate /
mount -t tmpfs -o mode=755 box "$directory"
mkdir "$directory/upper" "$directory/work" "$directory/root"
root=$directory/root
mount -t overlay box \
    -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" "$root"
mount -t proc proc "$root/proc"
# The machine's own settings, which are not of a namespace.
mount --bind -o ro "$root/proc/sys" "$root/proc/sys"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
umount -R "$root/sys/fs/cgroup" || true
mount -t cgroup2 cgroup "$root/sys/fs/cgroup"
for volatile in run tmp dev/shm; do
    mount -t tmpfs -o mode=1777 box "$root/$volatile"
done
for kept; do
    if [ -d "$kept" ]; then
        mkdir -p "$root$kept"
    else
        touch "$root$kept"
    fi
    mount --rbind "$kept" "$root$kept"
done

mkdir -p "$root/run/units" "$root/run/lock"
for target in sysinit basic multi-user shutdown; do
    printf '[Unit]\nDefaultDependencies=no\n' >"$root/run/units/$target.target"
done
# There is no journal: what services say is in /run/log.
mkdir "$root/run/units/service.d"
printf '[Service]\nStandardOutput=append:/run/log\nStandardError=append:/run/log\n' \
    >"$root/run/units/service.d/log.conf"
for path in "$project" "$python"; do
    while [ "$path" != / ]; do
        chmod a+rx "$root$path"
        path=$(dirname "$path")
    done
done

# DevStack's own user, as its tools/create-stack-user.sh makes it.
echo 'stack:x:4242:4242::/opt/stack:/bin/bash' >>"$root/etc/passwd"
echo 'stack:x:4242:' >>"$root/etc/group"
echo 'stack:*:1:0:99999:7:::' >>"$root/etc/shadow"
mkdir -p "$root/opt/stack" "$root/etc/sudoers.d"
chown 4242:4242 "$root/opt/stack"
echo 'stack ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/50_stack_sh"

cd "$root"
exec chroot "$root" env -i container=box "PATH=$PATH" \
    SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/units \
    SYSTEMD_GENERATOR_PATH=/run/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/run/none \
    /lib/systemd/systemd --system --unit=basic.target --log-target=null
