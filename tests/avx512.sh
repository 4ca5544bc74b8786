#!/bin/sh
# tests/registers.c on a processor with AVX-512, where this machine has none: Bochs emulates one, on
# which a Debian kernel boots, whose init runs the test. About three minutes of one core.
#
#     avx512.sh BUILD [KERNEL.deb]     passes if the test did, with AVX-512 registers seen
#
#   ROOT=..      the source tree        CFLAGS=      more for the test, as -DTEST_SCALE=20
#   LIMIT=900    seconds for Bochs      IPS=n        instructions to a second of the guest's time
#
# Without KERNEL.deb Debian's is downloaded, not installed. What has to be installed:
#     apt-get install --no-install-recommends bochs bochs-term bochsbios vgabios isolinux \
#         syslinux-common genisoimage cpio
set -e
root=${ROOT:-$(dirname "$0")/..} limit=${LIMIT:-900} ips=${IPS:-200000000}
build=$1 kernel=$2
rm -rf "$build/initrd" "$build/cd"
mkdir -p "$build/initrd/proc" "$build/cd"

if [ -z "$kernel" ]; then
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p')
    (cd "$build" && rm -f -- *.deb && apt-get download -q "$package")
    kernel=$(echo "$build"/*.deb)
fi

# In a static program only marked functions are switched, so libc and its loader come along.
# shellcheck disable=SC2086
gcc -std=c11 -D_GNU_SOURCE -O2 $CFLAGS -I"$root" "$root/tests/registers.c" \
    -o "$build/initrd/registers" -pthread
ldd "$build/initrd/registers" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$build/initrd${library%/*}"
    cp -L "$library" "$build/initrd$library"
done

cat >"$build/init.c" <<'END'
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    int status = -1;
    mount("proc", "/proc", "proc", 0, NULL);
    if (fork() == 0) {
        execl("/registers", "registers", (char *)NULL);
        _exit(127);
    }
    wait(&status);
    printf("init: wait status %d\n", status);
    fflush(stdout);
    sleep(1);                          /* until it is out on the line */
    reboot(RB_POWER_OFF);
}
END
gcc -O2 -static "$build/init.c" -o "$build/initrd/init"
(cd "$build/initrd" && find . | cpio -o -H newc --quiet) >"$build/cd/initrd"

dpkg-deb --fsys-tarfile "$kernel" | tar -xO --wildcards './boot/vmlinuz-*' >"$build/cd/vmlinuz"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$build/cd"
# Without xsavec and xsaves: Bochs 2.7 tells a wrong size of what they store, and a kernel that
# notices goes without AVX. Nor is its TSC as fast as it says: it ticks once an instruction.
cat >"$build/cd/isolinux.cfg" <<END
default vmlinuz initrd=initrd console=ttyS0 quiet clearcpuid=xsavec,xsaves \
tsc=reliable tsc_early_khz=$((ips / 1000)) \
mitigations=off lsm= cryptomgr.notests init_on_alloc=0
END
genisoimage -quiet -R -o "$build/cd.iso" -b isolinux.bin -c boot.cat -no-emul-boot \
    -boot-load-size 4 -boot-info-table "$build/cd"

# The guest's clock counts instructions: with fewer to the second sysmon, which looks around four
# times a quantum, would leave nothing of the only processor to the goroutines.
cat >"$build/bochsrc" <<END
cpu: model=corei7_skylake_x, count=1, ips=$ips
clock: sync=none
megs: 512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
display_library: rfb, options="timeout=0"
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
ata0-master: type=cdrom, path=$build/cd.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$build/serial.txt
log: $build/bochs.txt
panic: action=fatal
error: action=report
info: action=report
debug: action=ignore
END
rm -f "$build/serial.txt"
# Debian's Bochs waits in its debugger for a command: continue. It ends when the guest is off.
echo c | timeout -k 5 "$limit" bochs -q -f "$build/bochsrc" >"$build/bochs.out" 2>&1 || true
[ -s "$build/serial.txt" ] || tail "$build/bochs.out" "$build/bochs.txt"
tr -d '\r' <"$build/serial.txt" | tee "$build/serial"

grep -q '^# vector registers here: AVX-512' "$build/serial" &&
    grep -q '^init: wait status 0$' "$build/serial" && ! grep -q '^not ok' "$build/serial"
