package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var errRow = errors.New("it is truncated or too long")

// ParseRow parses the body of a DataRow. (That of pgproto3 panics on negative
// lengths.)
func ParseRow(b []byte, maxColumns int) ([]string, error) {
	if len(b) < 2 {
		return nil, errRow
	}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n > maxColumns {
		return nil, fmt.Errorf("it has %d columns", n)
	}
	row := make([]string, n)
	for i := range row {
		if len(b) < 4 {
			return nil, errRow
		}
		size := int32(binary.BigEndian.Uint32(b))
		if b = b[4:]; size == -1 { // NULL
			continue
		}
		if size < 0 || int(size) > len(b) {
			return nil, errRow
		}
		row[i], b = string(b[:size]), b[size:]
	}
	if len(b) > 0 {
		return nil, errRow
	}
	return row, nil
}
