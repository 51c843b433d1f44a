//go:build !unix

package relay

import "errors"

// canAwait reports whether a socket can be waited for before it is used.
const canAwait = false

func readSocket(uintptr, []byte) (int, error)  { return 0, errors.ErrUnsupported }
func writeSocket(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
