package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func shutdownCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shutdown",
		Short: "Ask a running credproxy to end",
		Long: `Shutdown starts the drain that SIGTERM starts too, and returns at once: credproxy
stops to be ready, takes no new sessions, lets those that are there end, and ends.
It is for Jobs, whose sidecar must end with them.

` + findingAdmin + `
` + findingControl + `

Exit status: 0 the drain has started; 1 it has not; 2 bad usage.`,
		Example: `  ./job; status=$?; credproxy shutdown; exit $status`,
		Args:    usage(cobra.NoArgs),
	}
	client := adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := client()
		if err != nil {
			return err
		}
		if err := c.ShutDown(cmd.Context()); err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), "credproxy is shutting down")
		return err
	}
	return cmd
}
