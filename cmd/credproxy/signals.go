package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// untilSignal returns a context that ends at the first SIGINT or SIGTERM, with which
// run begins to drain. The second one ends the process at once.
func untilSignal() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx
}

// exitAtSignal has the end of ctx end the process, with what is to be said then, until stop
// is called, which reports whether it came first. Nothing else ends a wait for a terminal.
func exitAtSignal(ctx context.Context, stderr io.Writer, text string) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		fmt.Fprintf(stderr, "\ncredproxy: %s\n", text)
		os.Exit(1)
	})
}
