package otlp

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// rejectedError is the number of spans of a batch that the receiver did not want, of which it
// took the rest.
type rejectedError int64

func (n rejectedError) Error() string { return fmt.Sprintf("the receiver rejected %d spans", int64(n)) }

// rejected reads that number from an ExportTraceServiceResponse: field 1, partial_success, and
// in it field 1, rejected_spans. What cannot be read rejects nothing.
func rejected(answer []byte) rejectedError {
	partial, _ := field(answer, protowire.BytesType)
	_, n := field(partial, protowire.VarintType)
	return rejectedError(max(0, int64(n)))
}

// field returns field 1 of a message, if it has that type; the last one counts.
func field(message []byte, want protowire.Type) (text []byte, number uint64) {
	for len(message) > 0 {
		num, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, 0
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(num, typ, message); n < 0 {
			return nil, 0
		}
		if num == 1 && typ == want {
			text, _ = protowire.ConsumeBytes(message[:n])
			number, _ = protowire.ConsumeVarint(message[:n])
		}
		message = message[n:]
	}
	return text, number
}
