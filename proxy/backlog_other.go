//go:build !linux

package proxy

import "syscall"

// widenBacklog does nothing: package net asks the kernel for its limit.
func widenBacklog(syscall.Conn) error { return nil }
