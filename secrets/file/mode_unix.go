//go:build unix

package file

import "io/fs"

func othersMay(info fs.FileInfo, what fs.FileMode) bool { return info.Mode().Perm()&what != 0 }
