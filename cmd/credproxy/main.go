// Command credproxy lets applications connect to Amazon RDS and Aurora without a
// password. See the README.
//
// This package holds the commands, one file each: their flags, what they print, and their
// exit statuses.
//
// Invariants: bad usage or configuration ends with status 2, every other failure with 1, but for
// an upgrade that only a restart can be (3);
// no command starts a goroutine but for signals. The package does nothing that another
// program of this module could want as well: that is in packages of its own.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := harden(); err != nil { // no reason to refuse service
		fmt.Fprintf(os.Stderr, "credproxy: this process is not hardened: %v\n", err)
	}
	os.Exit(execute(untilSignal(), os.Args[1:], os.Stdout, os.Stderr))
}
