package wire

import (
	"errors"
)

// ParseRow parses one row of a result set (page "Text Resultset Row").
func ParseRow(b []byte, columns int) ([]string, error) {
	f := Fields{Rest: b}
	row := make([]string, columns)
	for i := range row {
		if len(f.Rest) > 0 && f.Rest[0] == 0xfb { // NULL
			f.take(1)
			continue
		}
		row[i] = string(f.counted())
	}
	if f.Err == nil && len(f.Rest) > 0 {
		f.Err = errors.New("bytes after the last column")
	}
	return row, f.Err
}
