package upgrade

import (
	"os"
	"os/signal"
	"syscall"
)

// Notify relays the signal that asks for an upgrade, SIGUSR2.
func Notify(c chan<- os.Signal) { signal.Notify(c, syscall.SIGUSR2) }
