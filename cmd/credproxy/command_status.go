package main

import (
	"github.com/spf13/cobra"

	"github.com/credproxy/credproxy/admin/client"
)

func statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what a running credproxy knows",
		Long: `Status shows the databases of a running credproxy: whether clients can be logged in,
with which credential, how many sessions there are and what failed.

` + findingAdmin + `

Exit status: 0 shown, also if something is wrong; 1 nobody answers; 2 bad usage.`,
		Example: `  credproxy status
  credproxy status --json | jq '.databases[] | select(.ready | not)'`,
		Args: usage(cobra.NoArgs),
	}
	find := adminFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the JSON of /status")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := find()
		if err != nil {
			return err
		}
		s, text, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		if asJSON {
			_, err = cmd.OutOrStdout().Write(text)
			return err
		}
		return client.WriteStatus(cmd.OutOrStdout(), s)
	}
	return cmd
}
