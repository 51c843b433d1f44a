//go:build !unix

package proxy

import "errors"

func peek(uintptr) error { return errors.ErrUnsupported }
