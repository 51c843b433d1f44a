package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// waitInterval is how often wait asks.
const waitInterval = 200 * time.Millisecond

func waitCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait",
		Short: "Wait until a running credproxy is ready",
		Long: `Wait returns when clients can be logged in, also if credproxy starts only later.

` + findingAdmin + `

Exit status: 0 ready; 1 not ready in time, with the last reason; 2 bad usage.`,
		Example: `  credproxy wait && exec ./application
  credproxy wait --timeout 5m --admin 127.0.0.1:9191`,
		Args: usage(cobra.NoArgs),
	}
	client := adminFlags(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "give up after this long; 0 for never")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := client()
		if err != nil {
			return err
		}
		if timeout < 0 {
			return usageError{fmt.Errorf("--timeout: %s is negative; write a duration of 0s or more", timeout)}
		}
		return c.wait(cmd.Context(), timeout)
	}
	return cmd
}

func (c *adminClient) wait(ctx context.Context, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	tick := time.NewTicker(waitInterval)
	defer tick.Stop()
	var last error
	for {
		err := c.ready(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // the last one was perhaps only cut short
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		switch ctx.Err() {
		case context.DeadlineExceeded:
			return fmt.Errorf("not ready after %s: %w", timeout, last)
		case context.Canceled:
			return fmt.Errorf("interrupted, not ready: %w", last)
		}
	}
}
