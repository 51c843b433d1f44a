//go:build !unix

package file

import "io/fs"

// othersMay is false: here a mode says nothing about others.
func othersMay(fs.FileInfo, fs.FileMode) bool { return false }
