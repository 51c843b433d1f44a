package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func healthcheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Tell whether a running credproxy is ready",
		Long: `Healthcheck is for images without a shell, as a container's health command.

` + findingAdmin + `
Healthcheck reads nothing else of the file: a wrong value elsewhere, written while credproxy
runs, fails no health check. A file that is not YAML fails it, and so does another
admin.listen before a restart.

Exit status: 0 ready; 1 not ready, with the reasons; 2 bad usage.`,
		Example: `  credproxy healthcheck
  HEALTHCHECK CMD ["/usr/bin/credproxy", "healthcheck"]`,
		Args: usage(cobra.NoArgs),
	}
	client := adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := client()
		if err != nil {
			return err
		}
		if err := c.Ready(cmd.Context()); err != nil {
			return fmt.Errorf("not ready: %w", err)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), "ready")
		return err
	}
	return cmd
}
