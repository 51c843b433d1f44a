//go:build !linux

package file

import "os"

// isPrivateVolume is false: only on Linux do orchestrators mount volumes in memory.
func isPrivateVolume(*os.File) bool { return false }
