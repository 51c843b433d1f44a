package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

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
		return c.Wait(cmd.Context(), timeout)
	}
	return cmd
}
