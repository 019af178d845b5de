#!/bin/busybox sh
# What the guest does with the host's files. A line that begins with WRONG is a failure.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys

# The same, or else.
same() {
    if [ "$2" = "$3" ]; then echo "right: $1"; else echo "WRONG: $1: '$2' instead of '$3'"; fi
}
works() {
    what=$1; shift
    if said=$("$@" 2>&1); then echo "right: $what"; else echo "WRONG: $what: $said"; fi
}
# Fails, and says so.
refuses() {
    what=$1 word=$2; shift 2
    if said=$("$@" 2>&1); then echo "WRONG: $what works"; else
        case $said in *"$word"*) echo "right: $what";; *) echo "WRONG: $what: $said";; esac
    fi
}

works "the share is mounted" mount -t virtiofs gamut /mnt
same "what is in it" "$(echo $(ls /mnt))" "0 1 2 3 upper"
refuses "the share's root is changed" "Read-only" touch /mnt/new

# Binds.
same "a file of the host" "$(cat /mnt/0/host)" "from the host"
works "a file is made in a bind" sh -c 'echo from the guest > /mnt/0/guest'
echo "tell the host"
until [ "$(cat /mnt/0/host)" != "from the host" ]; do sleep 0.1; done
same "what the host writes" "$(cat /mnt/0/host)" "another word"
same "a file of a read-only bind" "$(cat /mnt/1/host)" "read only"
refuses "a read-only bind is written to" "Read-only" sh -c 'echo x > /mnt/1/host'
refuses "a file is made in a read-only bind" "Read-only" touch /mnt/1/new
refuses "a file is removed from a read-only bind" "Read-only" rm /mnt/1/host
refuses "a read-only bind's modes are changed" "Read-only" chmod 777 /mnt/1
same "a single file" "$(cat /mnt/2)" "one file"
works "a single file is written to" sh -c 'echo changed by the guest > /mnt/2'
refuses "a read-only file is written to" "Read-only" sh -c 'echo x > /mnt/3'
refuses "an absolute link leads out" "No such file" cat /mnt/0/escape
refuses "a relative link leads out" "No such file" cat /mnt/0/up
same "each bind is a file system" "$(stat -c %d /mnt /mnt/0/. /mnt/1/. /mnt/upper/. | sort -u | wc -l)" 4

# An overlay that has its upper directory there.
mount -t tmpfs tmpfs /lower
mkdir /lower/directory /lower/again
for name in file directory/gone directory/kept again/old; do echo lower > /lower/$name; done
ln -s file /lower/link
overlay() {
    mount -t overlay overlay /merged \
        -o lowerdir=/lower,upperdir=/mnt/upper/fs,workdir=/mnt/upper/work,redirect_dir=nofollow,metacopy=off,index=off
}
works "an overlay is mounted" overlay
works "a file is made" sh -c 'echo new > /merged/new'
works "a file is copied up" sh -c 'echo more >> /merged/file'
works "a lower file is removed" rm /merged/directory/gone
works "a lower directory is removed" rm -r /merged/again
works "it is made again" mkdir /merged/again
same "it is empty" "$(ls /merged/again)" ""
works "a link changes hands" chown -h 5:6 /merged/link
works "a fifo is made" mkfifo /merged/fifo
works "a link to a file" sh -c 'echo 1 > /merged/one; ln /merged/one /merged/two; echo 2 >> /merged/two'
same "is the file" "$(cat /merged/one)" "$(printf '1\n2')"
works "a file is renamed" sh -c 'echo x > /merged/a; mv /merged/a /merged/directory/b; test ! -e /merged/a'
works "a mode is set" sh -c 'echo x > /merged/set-id; chmod 4755 /merged/set-id'
works "a user makes a file" sh -c 'chmod 1777 /merged; start-stop-daemon -S -c user:user -x /bin/touch -- /merged/by-user'
works "a file has a hole" truncate -s 10M /merged/sparse
works "a program is executed" sh -c 'cp /bin/busybox /merged/true; /merged/true'
works "much is written" sh -c 'dd if=/dev/urandom of=/tmp-data bs=1M count=8; cp /tmp-data /merged/data; sync'
echo 3 > /proc/sys/vm/drop_caches
same "and read again" "$(sha256sum < /merged/data)" "$(sha256sum < /tmp-data)"
works "past the page cache" sh -c 'dd if=/merged/data of=/merged/direct bs=1M iflag=direct oflag=direct; cmp /merged/data /merged/direct'
works "many files" sh -c 'mkdir /merged/many; for i in $(seq 500); do echo $i > /merged/many/$i; done'
same "are listed" "$(ls /merged/many | wc -l)" 500
works "are removed" rm -r /merged/many
works "the overlay is let go" umount /merged
works "and mounted again" overlay
same "what was removed stays removed" "$(echo $(ls /merged/directory /merged/again))" "/merged/again: /merged/directory: b kept"
same "what was copied up stays" "$(cat /merged/file)" "$(printf 'lower\nmore')"
same "whose link it is" "$(stat -c %u:%g /merged/link)" "5:6"
works "the overlay is let go again" umount /merged
dmesg | grep -i -E 'overlayfs|fuse|virtiofs' | sed 's/^/kernel: /'
umount /mnt/upper /mnt/0 /mnt/1 2>/dev/null
works "the share is let go" umount /mnt
echo "the end"
poweroff -f
