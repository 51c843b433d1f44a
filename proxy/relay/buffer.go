package relay

import (
	"errors"
	"sync"
)

// bufferSize is the most that one read takes, in bytes: four full records of TLS.
const bufferSize = 64 << 10

// maxRecord is the most that one record of TLS holds, in bytes (RFC 8446, 5.1).
const maxRecord = 16 << 10

// maxRest is the most that Leg.Scan may want to see again, in bytes.
const maxRest = bufferSize - maxRecord

var errTooMuchRest = errors.New("too much held back")

type buffer [bufferSize]byte

// buffers are shared by all sessions, so that those that are busy use the same few
// again and again.
var buffers = sync.Pool{New: func() any { return new(buffer) }}
