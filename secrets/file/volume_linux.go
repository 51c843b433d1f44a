package file

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// isPrivateVolume reports whether f is on a volume as orchestrators make them for
// secrets (Kubernetes, the Secrets Store CSI driver, Docker Swarm): in memory, mounted
// read-only, and a file system of its own. Only the containers that were given it
// can reach it; the mode of its files is usually 0644. The machine's own file
// systems in memory are no such volume, although a service's sandbox
// (ProtectSystem=strict) shows them read-only.
func isPrivateVolume(f *os.File) bool {
	var volume unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &volume) != nil || volume.Flags&unix.ST_RDONLY == 0 {
		return false
	}
	if kind := uint32(volume.Type); kind != unix.TMPFS_MAGIC && kind != unix.RAMFS_MAGIC {
		return false
	}
	for _, shared := range []string{"/run", "/tmp", "/dev/shm"} {
		if onSameFileSystem(f, shared) {
			return false
		}
	}
	return true
}

func onSameFileSystem(f *os.File, path string) bool {
	var a, b syscall.Stat_t
	return syscall.Fstat(int(f.Fd()), &a) == nil && syscall.Stat(path, &b) == nil && a.Dev == b.Dev
}
