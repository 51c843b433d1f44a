//go:build !linux

package proxy

import "net"

// listenConfig leaves keepalive to package net.
func listenConfig() *net.ListenConfig { return new(net.ListenConfig) }
