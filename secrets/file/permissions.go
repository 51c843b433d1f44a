package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/credproxy/credproxy/secrets"
)

// ErrWorldReadable is a file with a password that every user of the machine can read.
var ErrWorldReadable = errors.New("every user of this machine can read it")

// guard refuses a file that every user of the machine can read: its mode lets them,
// each folder on the way to it lets them through, and it is not on a volume that
// only this container has. path is f's.
func guard(path string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !othersMay(info, read) || isPrivateVolume(f) {
		return nil
	}
	if path, err = filepath.EvalSymlinks(path); err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return err
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && !othersMay(info, search) {
			return nil
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return secrets.Errorf(secrets.Denied, "%s (mode %04o): %w; chmod o-r, or set world_readable: true if that is meant",
		path, info.Mode().Perm(), ErrWorldReadable)
}

// What a mode may allow to others.
const (
	read   fs.FileMode = 0o004 // a file
	search fs.FileMode = 0o001 // a folder
)
