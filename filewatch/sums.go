package filewatch

import (
	"crypto/sha256"
	"io"
	"os"
)

// maxSummed caps what is read of a file that is compared, in bytes.
const maxSummed = 16 << 20

// Sums remembers the sums of files that were read, each once.
type Sums map[string][sha256.Size]byte

// Of returns one sum of what the files say. One that cannot be read, or is no file and
// could be read but once, counts as empty.
func (s Sums) Of(paths []string) (sum [sha256.Size]byte, whole bool) {
	all, whole := sha256.New(), true
	for _, path := range paths {
		one, known := s[path]
		if !known {
			b, err := readRegular(path)
			whole = whole && err == nil
			one = sha256.Sum256(b)
			s[path] = one
		}
		_, _ = all.Write(one[:])
	}
	return [sha256.Size]byte(all.Sum(nil)), whole
}

func readRegular(path string) ([]byte, error) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSummed))
}
